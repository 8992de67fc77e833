//! Signals: the first asks for an orderly end, the second ends the process at once.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM, SIGINT, and SIGUSR1, which batch schedulers send ahead of the end of a job's time.
#[derive(Debug)]
pub struct Signals {
    term: Signal,
    int: Signal,
    usr1: Signal,
}

impl Signals {
    /// From here on these signals do not end the process by themselves.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            usr1: signal(SignalKind::user_defined1())?,
        })
    }

    /// The next of them. Safe to drop.
    pub async fn next(&mut self) {
        tokio::select! { _ = self.term.recv() => {}, _ = self.int.recv() => {}, _ = self.usr1.recv() => {} }
    }

    /// As [`Signals::next`], without SIGUSR1: a job's time is about to end, and whoever serves others stays for them.
    pub async fn next_but_usr1(&mut self) {
        tokio::select! { _ = self.term.recv() => {}, _ = self.int.recv() => {} }
    }
}

/// SIGHUP: the terminal of this process was closed.
#[derive(Debug)]
pub struct HangUp(Option<Signal>);

impl HangUp {
    /// From here on it does not end the process by itself. Where it is ignored already (nohup), it stays so.
    pub fn new() -> io::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Ok(Self(if ignores(&status, SignalKind::hangup().as_raw_value()) { None } else { Some(signal(SignalKind::hangup())?) }))
    }

    /// Safe to drop.
    pub async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}

/// Whether a process ignores a signal, by what the kernel says of it.
fn ignores(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// From here on the signals do nothing in this process. (Blocking them would not do: libraries have threads before `main`.)
pub fn ignore() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _entered = runtime.enter();
    // The handlers stay when what listens to them is gone.
    Signals::new().map(drop)
}

/// What it gives resolves at the first signal after this call; from then on the next one exits with 130.
pub fn requested() -> io::Result<impl Future<Output = ()>> {
    let mut signals = Signals::new()?;
    Ok(async move {
        signals.next().await;
        tokio::spawn(async move {
            signals.next().await;
            tracing::warn!("second signal: exiting at once");
            std::process::exit(130);
        });
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_which_signals_are_ignored() {
        let status = |mask: &str| format!("Name:\tosler\nSigIgn:\t{mask}\nSigCgt:\t0000000000000001\n");
        assert!(ignores(&status("0000000000000001"), 1) && ignores(&status("0000000000001003"), 2));
        assert!(!ignores(&status("0000000000001002"), 1) && !ignores("", 1) && !ignores(&status("?"), 1));
    }
}
