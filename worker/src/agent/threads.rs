//! What the kernel says of a process's threads: all that can be learned of one that is stopped, and the half of the truth about others.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Kinds of threads that are told.
const KINDS: usize = 16;

/// One line for each group of threads that do the same, the main thread first.
pub fn told(pid: u32) -> Vec<String> {
    let folder = Path::new("/proc").join(pid.to_string()).join("task");
    let mut main = None;
    let mut others: BTreeMap<String, usize> = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Some(doing) = fs::read_to_string(entry.path().join("stat")).ok().and_then(|stat| doing(&stat)) else { continue };
        // Zero, or not readable: the kernel does not say where.
        let place = fs::read_to_string(entry.path().join("wchan")).ok().filter(|place| !matches!(place.trim(), "" | "0"));
        let text = place.map_or_else(|| doing.clone(), |place| format!("{doing}, in the kernel's {}", place.trim()));
        if entry.file_name().to_string_lossy() == pid.to_string() {
            main = Some(format!("main thread: {text}"));
        } else {
            *others.entry(text).or_default() += 1;
        }
    }
    let others = others.into_iter().take(KINDS).map(|(text, count)| format!("{count} more: {text}"));
    main.into_iter().chain(others).collect()
}

/// Whether a signal has stopped a process, and none has let it go on. One that a debugger holds is not stopped.
pub fn is_stopped(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.split_whitespace().next() == Some("T"))
}

/// "rank: sleeping". The name is in parentheses and may hold some itself.
fn doing(stat: &str) -> Option<String> {
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    let state = match rest.split_whitespace().next()? {
        "R" => "running",
        "S" => "sleeping",
        "D" => "in a call that cannot be interrupted (disk or network file system?)",
        "T" => "stopped by a signal",
        "t" => "stopped by a debugger",
        "Z" | "X" => "gone",
        _ => "in an unknown state",
    };
    Some(format!("{name}: {state}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_is_told_by_its_threads() {
        let mut child = Command::new("sleep").arg("60").stdout(Stdio::null()).spawn().unwrap();
        let pid = nix::unistd::Pid::from_raw(child.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
        nix::sys::wait::waitpid(pid, Some(nix::sys::wait::WaitPidFlag::WUNTRACED)).unwrap();
        let lines = told(child.id());
        assert!(is_stopped(child.id()) && !is_stopped(std::process::id()) && !is_stopped(u32::MAX));
        assert!(lines.len() == 1 && lines[0].starts_with("main thread: sleep: stopped by a signal"), "{lines:?}");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(told(u32::MAX).is_empty());
    }

    #[test]
    fn a_name_may_hold_anything() {
        assert_eq!(doing("7 (a) b (c)) D 1 2").as_deref().map(|text| text.starts_with("a) b (c): in a call")), Some(true));
        assert_eq!(doing("7 a D"), None);
    }
}
