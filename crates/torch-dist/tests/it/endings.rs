//! How a group ends: for every collective, a killed or frozen rank and an abort end the other ranks' waits with a typed error.

use std::io::Read;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use osler_torch_dist::{DistError, GroupOptions, ProcessGroup, Work};
use tch::{Device, Kind, Tensor};

use crate::gang::{Member, PATIENT, Seat, staged};

/// What scheduling on a busy machine may add to a bound.
const SLACK: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_secs(3);

fn ones(length: i64) -> Tensor {
    Tensor::ones([length], (Kind::Float, Device::Cpu))
}

type Start = fn(&ProcessGroup) -> Result<Work, DistError>;

/// Every collective of a gang of three, each such that it cannot end without rank 2. More than a socket holds where a send waits.
const COLLECTIVES: [(&str, Start); 9] = [
    ("all_reduce_sum", |group| group.all_reduce_sum(&mut ones(1000))),
    ("reduce_sum", |group| group.reduce_sum(&mut ones(1000), 0)),
    ("broadcast", |group| group.broadcast(&mut ones(1000), 2)),
    ("all_gather", |group| group.all_gather(&mut [ones(10), ones(10), ones(10)], &ones(10))),
    ("all_gather_into", |group| group.all_gather_into(&mut ones(30), &ones(10))),
    ("reduce_scatter_sum", |group| group.reduce_scatter_sum(&mut ones(10), &mut ones(30))),
    ("barrier", |group| group.barrier()),
    ("send", |group| group.send(&ones(16 << 20), 2, 1)),
    ("recv", |group| group.recv(&mut ones(10), 2, 1)),
];

/// One group per collective, so that the end of one does not end the others.
fn groups(seat: &Seat, timeout: Duration) -> Vec<ProcessGroup> {
    let store = seat.store();
    let join = |generation| ProcessGroup::gloo(&store, GroupOptions { generation, ..seat.options(timeout) }).unwrap();
    (20..20 + COLLECTIVES.len() as u64).map(join).collect()
}

/// The last rank takes no part and is harmed; the others start everything at once and wait. `bound` is for all of it.
fn harm_the_last_rank(test: &str, harm: Signal, timeout: Duration, bound: Duration) {
    staged(
        test,
        3,
        |seat| {
            let groups = groups(&seat, timeout);
            if seat.rank == 2 {
                println!("joined");
                std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
                return;
            }
            let works: Vec<_> = COLLECTIVES.iter().zip(&groups).map(|((_, start), group)| start(group).unwrap()).collect();
            println!("joined");
            let began = Instant::now();
            for ((work, (name, _)), group) in works.into_iter().zip(COLLECTIVES).zip(&groups) {
                // A reduction to rank 0 may be over for the others as soon as they have sent.
                let Err(error) = work.wait(PATIENT) else {
                    assert_eq!((name, seat.rank), ("reduce_sum", 1), "{name} cannot have succeeded");
                    continue;
                };
                assert!(matches!(error, DistError::Timeout { .. } | DistError::PeerLost { .. }), "{name}: {error:?}");
                assert!(error.to_string().contains(name) && error.is_retryable(), "{name}: {error}");
                let again = group.barrier().err().unwrap();
                assert!(matches!(again, DistError::Aborted { .. }), "{name}, afterwards: {again:?}");
            }
            assert!(began.elapsed() < bound, "{:?}", began.elapsed());
        },
        |mut members| {
            members.iter_mut().for_each(|member| drop(member.await_line("joined")));
            let victim = members.pop().unwrap();
            kill(Pid::from_raw(victim.child.id().try_into().unwrap()), harm).unwrap();
            members.iter_mut().for_each(Member::expect_success);
        },
    );
}

#[test]
fn a_killed_rank_ends_every_collective_at_once() {
    // The timeout is long: broken connections end the waits, not the clock.
    harm_the_last_rank("endings::a_killed_rank_ends_every_collective_at_once", Signal::SIGKILL, PATIENT, SLACK);
}

#[test]
// The clock of what only a wait can see, send, recv and the exchange, starts with the wait: four in a row at most.
fn a_frozen_rank_ends_every_collective_at_the_timeout() {
    harm_the_last_rank("endings::a_frozen_rank_ends_every_collective_at_the_timeout", Signal::SIGSTOP, SHORT, 4 * SHORT + SLACK);
}

#[test]
fn an_abort_ends_the_other_ranks_waits_and_ones_own() {
    staged(
        "endings::an_abort_ends_the_other_ranks_waits_and_ones_own",
        3,
        |seat| {
            let groups = groups(&seat, PATIENT);
            if seat.rank == 2 {
                let own = groups[0].recv(&mut ones(1), 0, 3).unwrap();
                println!("joined");
                std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
                std::thread::scope(|scope| {
                    let waiting = scope.spawn(|| own.wait(PATIENT));
                    groups.iter().for_each(|group| group.abort("its disk is full"));
                    let error = waiting.join().unwrap().unwrap_err();
                    assert!(matches!(&error, DistError::Aborted { reason, .. } if reason == "its disk is full"), "{error:?}");
                });
                assert_eq!(groups[0].ended(), Some("its disk is full"));
                assert!(matches!(groups[0].all_reduce_sum(&mut ones(1)), Err(DistError::Aborted { .. })));
                // Stays alive: it is the abort that the others see, not the end of this process.
                println!("aborted");
                std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
                return;
            }
            let works: Vec<_> = COLLECTIVES.iter().zip(&groups).map(|((_, start), group)| start(group).unwrap()).collect();
            println!("joined");
            let began = Instant::now();
            for (work, (name, _)) in works.into_iter().zip(COLLECTIVES) {
                if let Err(error) = work.wait(PATIENT) {
                    assert!(matches!(error, DistError::PeerLost { .. }), "{name}: {error:?}");
                }
            }
            assert!(began.elapsed() < SLACK, "{:?}", began.elapsed());
        },
        |mut members| {
            members.iter_mut().for_each(|member| drop(member.await_line("joined")));
            drop(members[2].child.stdin.take());
            members.iter_mut().for_each(Member::expect_success);
        },
    );
}

#[test]
fn the_first_failure_is_passed_on_to_ranks_that_wait_for_others() {
    // Rank 1 waits for rank 0 only, which waits for the dead rank 2: it hears of the end through rank 0.
    staged(
        "endings::the_first_failure_is_passed_on_to_ranks_that_wait_for_others",
        3,
        |seat| {
            let group = seat.join(PATIENT);
            println!("joined");
            let began = Instant::now();
            match seat.rank {
                0 => drop(group.recv(&mut ones(1), 2, 1).unwrap().wait(PATIENT).unwrap_err()),
                1 => {
                    let error = group.recv(&mut ones(1), 0, 1).unwrap().wait(PATIENT).unwrap_err();
                    assert!(matches!(error, DistError::PeerLost { .. }), "{error:?}");
                    println!("told");
                }
                _ => drop(std::io::stdin().read_to_end(&mut Vec::new()).unwrap()),
            }
            assert!(began.elapsed() < SLACK, "{:?}", began.elapsed());
            if seat.rank == 0 {
                std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
            }
        },
        |mut members| {
            members.iter_mut().for_each(|member| drop(member.await_line("joined")));
            drop(members.pop().unwrap()); // kills it
            members[1].await_line("told");
            drop(members[0].child.stdin.take());
            members.iter_mut().for_each(Member::expect_success);
        },
    );
}

#[test]
fn a_work_knows_whether_it_is_done() {
    staged(
        "endings::a_work_knows_whether_it_is_done",
        2,
        |seat| {
            let group = seat.join(PATIENT);
            if seat.rank == 1 {
                std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
                group.all_reduce_sum(&mut ones(4)).unwrap().wait(PATIENT).unwrap();
                group.send(&ones(4), 0, 0).unwrap().wait(PATIENT).unwrap();
                return;
            }
            let work = group.all_reduce_sum(&mut ones(4)).unwrap();
            assert_eq!(work.is_done(), Some(false));
            println!("asked");
            let began = Instant::now();
            while work.is_done() == Some(false) && began.elapsed() < SLACK {
                std::thread::yield_now();
            }
            assert_eq!(work.is_done(), Some(true));
            work.wait(Duration::from_millis(1)).unwrap();
            let receiving = group.recv(&mut ones(4), 1, 0).unwrap();
            assert_eq!(receiving.is_done(), None, "libtorch cannot tell");
            receiving.wait(PATIENT).unwrap();
        },
        |mut members| {
            members[0].await_line("asked");
            drop(members[1].child.stdin.take());
            members.iter_mut().for_each(Member::expect_success);
        },
    );
}
