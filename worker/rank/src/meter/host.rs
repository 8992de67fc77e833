//! What Linux says about this process, its processor and its node.

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use std::fs;

/// Equal for everything that runs on one kernel, containers included, and for nothing else: the kernel's boot id.
pub fn node() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_else(|_| "unknown".to_owned())
}

/// The processor's model name.
pub fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_owned()));
    name.unwrap_or_else(|| "an unnamed processor".to_owned())
}

/// Seconds of processor time that this process has used, on all threads.
pub fn cpu_seconds() -> f64 {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return 0.0 };
    (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6
}

/// The largest resident set of this process so far, in bytes.
pub fn peak_memory() -> u64 {
    // The kernel's VmHWM, which getrusage rounds and inherits from the process that started this one.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// Seconds since this process was started. None where /proc does not say.
pub fn process_age() -> Option<f64> {
    let uptime: f64 = fs::read_to_string("/proc/uptime").ok()?.split_whitespace().next()?.parse().ok()?;
    let started = start_ticks(&fs::read_to_string("/proc/self/stat").ok()?)?;
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    Some((uptime - started as f64 / ticks as f64).max(0.0))
}

/// Field 22 of /proc/PID/stat. The second field is a name in parentheses that may contain anything.
fn start_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_age_and_its_memory() {
        let age = process_age().unwrap();
        assert!((0.0..3600.0).contains(&age), "{age}");
        let before = peak_memory();
        let held = vec![1_u8; 64 << 20];
        assert!(peak_memory() >= before.max(held.len() as u64));
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 999";
        assert_eq!(start_ticks(stat), Some(4711));
        assert_eq!(start_ticks("7 (a"), None);
    }
}
