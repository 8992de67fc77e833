//! Missing, killed, frozen and stale peers: a typed error within the bound, never a hang.

use std::io::Read;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use osler_torch_dist::{DistError, GroupOptions, ProcessGroup, Store};
use tch::{Device, Kind, Tensor};

use crate::gang::{LOOPBACK, Member, PATIENT, gang, staged};

/// What scheduling on a busy machine may add to a bound.
const SLACK: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_secs(3);

fn signal(member: &Member, signal: Signal) {
    kill(Pid::from_raw(member.child.id().try_into().unwrap()), signal).unwrap();
}

/// All-reduces and reduce-scatters 24 MB again and again, and tells each time, until it fails.
fn reduce_until_error(group: &ProcessGroup) -> DistError {
    let mut tensor = Tensor::zeros([6 << 20], (Kind::Float, Device::Cpu));
    let mut share = tensor.narrow(0, 0, (6 << 20) / group.world_size() as i64);
    loop {
        let whole = group.all_reduce_sum(&mut tensor).and_then(|work| work.wait(PATIENT));
        match whole.and_then(|()| group.reduce_scatter_sum(&mut share, &mut tensor)).and_then(|work| work.wait(PATIENT)) {
            Ok(()) => println!("reduced"),
            Err(error) => return error,
        }
    }
}

/// The parent harms the last rank in the midst of its all-reduces; all others must report an error that `survivor` accepts.
fn harm_the_last_rank(test: &str, world: usize, harm: Signal, timeout: Duration, survivor: fn(DistError)) {
    staged(
        test,
        world,
        |seat| {
            let error = reduce_until_error(&seat.join(timeout));
            println!("failed: {error}");
            survivor(error);
        },
        |mut members| {
            let mut victim = members.pop().unwrap();
            for _ in 0..5 {
                victim.await_line("reduced");
            }
            let start = Instant::now();
            signal(&victim, harm);
            for mut member in members {
                member.expect_success();
            }
            assert!(start.elapsed() < timeout + SLACK, "the survivors took {:?}", start.elapsed());
        },
    );
}

#[test]
fn a_peer_killed_in_mid_all_reduce_is_an_error_at_once() {
    // The long timeout shows that the broken connection, not the clock, ends the wait.
    let test = "faults::a_peer_killed_in_mid_all_reduce_is_an_error_at_once";
    harm_the_last_rank(test, 3, Signal::SIGKILL, PATIENT, |error| {
        assert!(matches!(error, DistError::PeerLost { .. }), "{error:?}");
        assert!(error.is_retryable());
    });
}

#[test]
fn a_frozen_peer_is_a_timeout() {
    let test = "faults::a_frozen_peer_is_a_timeout";
    harm_the_last_rank(test, 2, Signal::SIGSTOP, SHORT, |error| {
        assert!(matches!(error, DistError::Timeout { limit: SHORT, .. }), "{error:?}");
        assert!(error.is_retryable());
    });
}

#[test]
fn the_deadline_of_a_wait_holds_below_the_groups_timeout() {
    staged(
        "faults::the_deadline_of_a_wait_holds_below_the_groups_timeout",
        2,
        |seat| {
            // A group for each, because a wait that fails ends its group.
            let store = seat.store();
            let join = |generation| ProcessGroup::gloo(&store, GroupOptions { generation, ..seat.options(PATIENT) }).unwrap();
            let groups: Vec<_> = (10..18).map(join).collect();
            if seat.rank == 1 {
                // Takes no part, until the parent lets go.
                std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
                return;
            }
            let limit = Duration::from_millis(200);
            let ones = |length| Tensor::ones([length], (Kind::Float, Device::Cpu));
            for work in [
                groups[0].all_reduce_sum(&mut ones(8)),
                groups[1].broadcast(&mut ones(8), 1),
                groups[2].all_gather(&mut [ones(8), ones(8)], &ones(8)),
                groups[3].all_gather_into(&mut ones(16), &ones(8)),
                groups[4].reduce_scatter_sum(&mut ones(8), &mut ones(16)),
                groups[5].barrier(),
                groups[6].recv(&mut ones(8), 1, 0),
                groups[7].reduce_sum(&mut ones(8), 0),
            ] {
                let start = Instant::now();
                let error = work.and_then(|work| work.wait(limit)).unwrap_err();
                assert!(matches!(error, DistError::Timeout { .. }), "{error:?}");
                println!("after {:?}", start.elapsed());
                assert!(start.elapsed() < limit + SLACK);
            }
            println!("timed-out");
        },
        |mut members| {
            members[0].await_line("timed-out");
            drop(members[1].child.stdin.take());
            members[1].expect_success();
            members[0].expect_success();
        },
    );
}

#[test]
fn a_rank_of_another_generation_or_world_size_meets_nobody() {
    gang("faults::a_rank_of_another_generation_or_world_size_meets_nobody", 2, |seat| {
        let store = seat.store();
        for stray in [
            GroupOptions { generation: 7 + seat.rank as u64, ..seat.options(SHORT) },
            GroupOptions { generation: 100, world_size: 2 + seat.rank, ..seat.options(SHORT) },
        ] {
            let start = Instant::now();
            let error = ProcessGroup::gloo(&store, stray.clone()).err().unwrap();
            assert!(matches!(error, DistError::Timeout { .. }), "{error:?}");
            assert!(error.to_string().contains(&format!("generation {}", stray.generation)), "{error}");
            assert!(start.elapsed() < SHORT + SLACK);
        }
    });
}

#[test]
fn a_rank_is_taken_once_per_generation() {
    let store = Store::host(LOOPBACK, 0, 1, PATIENT).unwrap();
    let join = |generation| ProcessGroup::gloo(&store, GroupOptions::new(0, 1, generation, PATIENT));
    let first = join(1).unwrap();
    let again = join(1).err().unwrap();
    assert!(matches!(again, DistError::RankTaken { .. }), "{again:?}");
    assert!(!again.is_retryable());
    drop(first);
    assert!(join(1).is_err(), "a generation never repeats, also after its group has gone");
    assert!(join(2).is_ok());
}

#[test]
fn a_store_that_nobody_hosts_is_a_timeout() {
    let port = std::net::TcpListener::bind((LOOPBACK, 0)).unwrap().local_addr().unwrap().port();
    let start = Instant::now();
    let error = Store::connect("127.0.0.1", port, 2, SHORT).err().unwrap();
    assert!(matches!(error, DistError::Timeout { .. }), "{error:?}");
    assert!(start.elapsed() < SHORT + SLACK);
}

#[test]
fn a_store_that_is_silent_is_a_timeout() {
    // Accepts connections, by its backlog, and never says a word: a frozen host looks like this.
    let silent = std::net::TcpListener::bind((LOOPBACK, 0)).unwrap();
    let start = Instant::now();
    let error = Store::connect("127.0.0.1", silent.local_addr().unwrap().port(), 2, SHORT).err().unwrap();
    assert!(matches!(error, DistError::Timeout { .. }), "{error:?}");
    assert!(start.elapsed() < SHORT + SLACK);
}

#[test]
fn a_store_whose_host_died_is_an_error() {
    staged(
        "faults::a_store_whose_host_died_is_an_error",
        2,
        |seat| {
            if seat.rank == 0 {
                let store = Store::host(LOOPBACK, 0, 2, PATIENT).unwrap();
                println!("port={}", store.port());
                std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
            }
        },
        |mut members| {
            let line = members[0].await_line("port=");
            let port = line.split("port=").nth(1).unwrap().trim().parse().unwrap();
            let store = Store::connect("127.0.0.1", port, 2, PATIENT).unwrap();
            signal(&members[0], Signal::SIGKILL);
            members[0].child.wait().unwrap();
            let error = ProcessGroup::gloo(&store, GroupOptions::new(1, 2, 1, SHORT)).err().unwrap();
            assert!(error.is_retryable(), "{error:?}");
            members[1].expect_success();
        },
    );
}

#[test]
fn impossible_numbers_and_addresses_are_refused() {
    let store = Store::host(LOOPBACK, 0, 1, PATIENT).unwrap();
    let good = GroupOptions::new(0, 1, 1, PATIENT);
    for options in [
        GroupOptions { rank: 1, ..good.clone() },
        GroupOptions { world_size: 0, ..good.clone() },
        GroupOptions { world_size: usize::MAX, ..good.clone() },
        GroupOptions { interface_address: [0, 0, 0, 0].into(), ..good.clone() },
    ] {
        let error = ProcessGroup::gloo(&store, options.clone()).err().unwrap();
        assert!(matches!(error, DistError::Invalid { .. }), "{options:?}: {error:?}");
    }
    // An address of another machine (a documentation range): Gloo cannot bind it.
    let elsewhere = GroupOptions { interface_address: [192, 0, 2, 1].into(), timeout: SHORT, ..good };
    assert!(ProcessGroup::gloo(&store, elsewhere).is_err());
    assert!(matches!(Store::host(LOOPBACK, store.port(), 1, SHORT), Err(DistError::Bind { .. })));
    assert!(matches!(Store::host(LOOPBACK, 0, 0, SHORT), Err(DistError::Invalid { .. })));
    assert!(matches!(Store::connect("a\0b", 1, 1, SHORT), Err(DistError::Invalid { .. })));
}

#[test]
fn a_gpu_that_is_not_there_is_unavailable() {
    // No machine has so many, and a build without CUDA has none.
    let index = 4096;
    let store = Store::host(LOOPBACK, 0, 1, PATIENT).unwrap();
    for error in [
        osler_torch_dist::cuda_device(index).unwrap_err(),
        ProcessGroup::nccl(&store, GroupOptions::new(0, 1, 1, PATIENT), index).err().unwrap(),
    ] {
        assert!(matches!(error, DistError::Unavailable { .. }) && !error.is_retryable(), "{error:?}");
        assert!(error.to_string().contains("CUDA device 4096"), "{error}");
    }
}

#[test]
fn the_store_listens_on_the_given_address_only() {
    let store = Store::host([127, 0, 0, 2].into(), 0, 1, PATIENT).unwrap();
    assert!(Store::connect("127.0.0.2", store.port(), 1, PATIENT).is_ok());
    assert!(std::net::TcpStream::connect((LOOPBACK, store.port())).is_err());
}
