//! Gangs of real processes: the test binary starts itself once per rank, and the same test function plays all parts.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use osler_torch_dist::{GroupOptions, ProcessGroup, Store};

pub const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// For what must succeed, on a machine that may be busy.
pub const PATIENT: Duration = Duration::from_secs(120);

const SEAT: &str = "TORCH_DIST_TEST_SEAT";
const DONE: &str = "seat-done";

/// One rank's part in a test.
pub struct Seat {
    pub rank: usize,
    pub world: usize,
    pub port: u16,
}

impl Seat {
    /// The part that a parent gave to this process; none in the parent itself.
    fn of_this_process() -> Option<Self> {
        let value = std::env::var(SEAT).ok()?;
        let numbers: Vec<usize> = value.split(' ').map(|number| number.parse().unwrap()).collect();
        let [rank, world, port] = numbers[..] else { panic!("bad seat {value:?}") };
        Some(Self { rank, world, port: port.try_into().unwrap() })
    }

    pub fn store(&self) -> Store {
        Store::connect("127.0.0.1", self.port, self.world, PATIENT).unwrap()
    }

    pub fn options(&self, timeout: Duration) -> GroupOptions {
        GroupOptions::new(self.rank, self.world, 7, timeout)
    }

    pub fn join(&self, timeout: Duration) -> ProcessGroup {
        ProcessGroup::gloo(&self.store(), self.options(timeout)).unwrap()
    }
}

/// Runs `part` on every rank and requires that all of them end well. `test` is the full name of the calling test.
pub fn gang(test: &str, world: usize, part: impl Fn(Seat)) {
    staged(test, world, part, |members| {
        for mut member in members {
            member.expect_success();
        }
    });
}

/// Runs `part` in each rank and `stage` in the parent, which holds all members and is the only one that may harm them.
pub fn staged(test: &str, world: usize, part: impl Fn(Seat), stage: impl FnOnce(Vec<Member>)) {
    if let Some(seat) = Seat::of_this_process() {
        part(seat);
        println!("{DONE}");
        return;
    }
    let store = Store::host(LOOPBACK, 0, world, PATIENT).unwrap();
    stage((0..world).map(|rank| Member::start(test, rank, world, store.port())).collect());
}

/// A rank as its parent sees it. Killed when dropped.
pub struct Member {
    pub child: Child,
    pub rank: usize,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Member {
    fn start(test: &str, rank: usize, world: usize, port: u16) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(SEAT, format!("{rank} {world} {port}"))
            .env("OMP_NUM_THREADS", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, rank, lines }
    }

    /// Reads what the member prints up to a line that contains `word`, and returns that line.
    pub fn await_line(&mut self, word: &str) -> String {
        let rank = self.rank;
        self.lines
            .by_ref()
            .map(|line| line.unwrap())
            .find(|line| line.contains(word))
            .unwrap_or_else(|| panic!("rank {rank} ended without saying {word:?}"))
    }

    pub fn expect_success(&mut self) {
        self.await_line(DONE);
        let status = self.child.wait().unwrap();
        assert!(status.success(), "rank {}: {status}", self.rank);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
