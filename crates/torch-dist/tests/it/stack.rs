//! A thread that does not come back says where it stands.

use osler_torch_dist::stack;
use std::ffi::c_void;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

static OVER: AtomicBool = AtomicBool::new(false);

#[inline(never)]
fn stuck_in_here() -> u64 {
    let mut turns = 0;
    while !OVER.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_secs(60)); // the signal does not end it: it goes on for the rest
        turns = black_box(turns + 1);
    }
    turns
}

fn names(frames: Vec<usize>) -> Vec<String> {
    let mut names = vec![];
    for frame in frames {
        backtrace::resolve(frame as *mut c_void, |symbol| names.extend(symbol.name().map(|name| name.to_string())));
    }
    names
}

#[test]
fn a_stuck_thread_is_seen_where_it_stands_again_and_again() {
    let error = stack::take(Duration::from_millis(1)).unwrap_err().to_string();
    assert!(error.contains("no thread is watched"), "{error}");
    let (ready, watched) = channel();
    std::thread::spawn(move || {
        stack::watch_this_thread().unwrap();
        ready.send(()).unwrap();
        black_box(stuck_in_here());
    });
    watched.recv().unwrap();
    let mut seen = vec![];
    for _ in 0..200 {
        seen = names(stack::take(Duration::from_secs(10)).unwrap());
        if seen.iter().any(|name| name.contains("stuck_in_here")) {
            break; // it may not have come there yet
        }
    }
    assert!(seen.iter().any(|name| name.contains("stuck_in_here")), "{seen:?}");
    assert!(!seen[0].contains("answer"), "the signal's own calls are left out: {seen:?}");
    let again = names(stack::take(Duration::from_secs(10)).unwrap());
    assert!(again.iter().any(|name| name.contains("stuck_in_here")), "{again:?}");
    OVER.store(true, Ordering::Relaxed); // the thread sleeps on; the process ends without it
}
