//! Several people, or one who changes his mind: nobody's coordinator is deposed unasked, a stop by hand stays, and so does a shut gate.

use crate::cluster::{Cluster, TRAINING_ALONE, binary, events, mini_spec, signal, wait_for};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use osler_core::ids::StageName;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Output, Stdio};

/// `osler` on a cluster's store; `up` of the small run is given with its changes.
fn osler(cluster: &Cluster, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary("osler"));
    command.args(arguments).arg("--store").arg(cluster.store()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The small run's file beside its world.
fn run_file(cluster: &Cluster) -> String {
    mini_spec(cluster.folder.path(), &[]);
    let file = cluster.folder.path().join("world/mini.toml");
    fs::write(&file, include_str!("mini.toml")).unwrap();
    file.to_str().unwrap().to_owned()
}

fn up(cluster: &Cluster, file: &str, changes: &[&str]) -> Command {
    let mut command = osler(cluster, &["up", file]);
    for change in changes {
        command.args(["--set", change]);
    }
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Exit code and words on standard error.
fn end(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    (output.status.code(), said(&output))
}

fn waited(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), said(&output))
}

fn long() -> Vec<&'static str> {
    [&TRAINING_ALONE[..], &["stage.domain.steps=50000", "checkpoint.every_steps=50"]].concat()
}

#[test]
fn a_store_that_somebody_leads_is_refused_and_the_leader_goes_on() {
    let mut cluster = Cluster::new();
    let file = run_file(&cluster);
    cluster.start_coordinator();
    // What a person has who shares the store and not the token, which is as if unreadable while its mode is too open.
    let mode = |mode| fs::set_permissions(cluster.token_file(), fs::Permissions::from_mode(mode)).unwrap();
    let home = cluster.folder.path().join("stranger");
    fs::create_dir(&home).unwrap();
    let as_stranger = |mut command: Command| {
        command.env("HOME", &home).env_remove("OSLER_TOKEN_FILE");
        command
    };
    mode(0o644);
    let (code, words) = end(&mut as_stranger(up(&cluster, &file, &[])));
    assert_eq!(code, Some(64), "{words}");
    for word in ["is led already, by the coordinator of ", " on ", " at 127.0.0.1:", ", since 20", "osler submit", "--take-over"] {
        assert!(words.contains(word), "{word} is missing from\n{words}");
    }
    // Neither may anybody look at the store as if nobody led it.
    let (code, words) = end(&mut as_stranger(osler(&cluster, &["ps"])));
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("cannot be asked"), "{words}");
    let mut rival = Command::new(binary("osler-coordinator"));
    rival.arg("--store").arg(cluster.store()).env("HOME", &home).stderr(Stdio::piped()).stdout(Stdio::null());
    let (code, words) = end(&mut rival);
    assert_eq!((code, words.contains("--take-over")), (Some(64), true), "{words}");
    // It leads as before.
    mode(0o600);
    assert!(cluster.osler(&["ps"]).contains("no runs"));
    let log = fs::read_to_string(cluster.folder.path().join("coordinator.log")).unwrap();
    assert!(!log.contains("has taken over"), "{log}");
    // One that died on this machine keeps nobody waiting.
    cluster.kill_coordinator();
    let begun = std::time::Instant::now();
    cluster.start_coordinator();
    assert!(begun.elapsed().as_secs() < 4, "{:?}", begun.elapsed());
}

#[test]
fn a_stop_by_hand_outlives_the_command_that_it_ended_and_an_interruption_does_not() {
    let cluster = Cluster::new();
    let file = run_file(&cluster);
    let domain = StageName::new("domain").unwrap();
    let first = up(&cluster, &file, &long()).spawn().unwrap();
    cluster.wait_until("mini", "steps", |r| r.published_steps(&domain) >= 50);
    cluster.osler(&["stop", "mini", "--wait"]);
    let (code, words) = waited(first);
    assert_eq!(code, Some(94), "the job must not be requeued: {words}");
    let record = cluster.record("mini").unwrap();
    let published = record.published_steps(&domain);
    for command in [&mut up(&cluster, &file, &long()), &mut osler(&cluster, &["status", "mini", "-w"])] {
        let (code, words) = end(command);
        assert_eq!(code, Some(94), "{words}");
        let way_out = format!("`osler resume mini --store {}`", cluster.store().display());
        assert!(words.contains("was stopped by owner (") && words.contains(&way_out), "{words}");
    }
    let record = cluster.record("mini").unwrap();
    assert_eq!((record.state.as_str(), record.published_steps(&domain)), ("stopped", published), "{}", events(&record));
    // A person goes on; then a scheduler takes the machine away; then the same command goes on.
    let second = osler(&cluster, &["resume", "mini"]).spawn().unwrap();
    cluster.wait_until("mini", "more steps", |r| r.published_steps(&domain) > published);
    signal(Pid::from_raw(second.id() as i32), Signal::SIGTERM);
    let (code, words) = waited(second);
    assert_eq!(code, Some(75), "{words}");
    let published = cluster.record("mini").unwrap().published_steps(&domain);
    let third = up(&cluster, &file, &long()).spawn().unwrap();
    cluster.wait_until("mini", "the same command went on", |r| r.published_steps(&domain) > published);
    // Its terminal is closed: the run goes on, until `osler down` has it saved and ends the daemons.
    let closed = third.id() as i32;
    signal(Pid::from_raw(closed), Signal::SIGHUP);
    let (code, words) = waited(third);
    assert_eq!((code, words.contains("goes on without it")), (Some(1), true), "{words}");
    let published = cluster.record("mini").unwrap().published_steps(&domain);
    let record = cluster.wait_until("mini", "it goes on", |r| r.published_steps(&domain) > published + 50);
    assert_eq!(record.state.as_str(), "running", "{}", events(&record));
    let down = cluster.osler(&["down"]);
    assert!(down.contains("ended: worker, coordinator") && down.contains("run mini is saved"), "{down}");
    let record = cluster.record("mini").unwrap();
    assert_eq!((record.state.as_str(), record.stopped_by_hand()), ("stopped", None), "{}", events(&record));
    assert!(cluster.osler(&["down"]).contains("no daemons"));
}

#[test]
fn a_shut_gate_stays_shut_until_it_is_waived_by_name() {
    let cluster = Cluster::new();
    let file = run_file(&cluster);
    let changes = ["after_stage.quantize=[]", "stage.general.steps=10", "stage.domain.steps=10"];
    let text = fs::read_to_string(&file).unwrap().replace(
        "exam = \"text\"\nvariant = \"int8\"\nmax_perplexity_increase = 0.05",
        "exam = \"seen\"\nstages = [\"domain\"]\nmin_accuracy = 100.0",
    );
    fs::write(&file, text).unwrap();
    for _ in 0..2 {
        let (code, words) = end(&mut up(&cluster, &file, &changes));
        assert_eq!((code, words.contains("--waive-gate domain/full/seen --reason WHY")), (Some(93), true), "{words}");
    }
    assert_eq!(end(&mut osler(&cluster, &["resume", "mini"])).0, Some(93));
    assert_eq!(end(&mut osler(&cluster, &["resume", "mini", "--waive-gate", "text", "--reason", "x"])).0, Some(64));
    assert_eq!(end(&mut osler(&cluster, &["resume", "mini", "--waive-gate", "seen"])).0, Some(64));
    let (code, words) = end(&mut osler(&cluster, &["resume", "mini", "--waive-gate", "seen", "--reason", "a test of gates"]));
    assert_eq!(code, Some(0), "{words}");
    let record = cluster.record("mini").unwrap();
    let waiver = record.gates[0].waived.clone().unwrap();
    assert!(waiver.by.starts_with("owner (") && waiver.reason == "a test of gates", "{waiver:?}");
    for command in ["ps", "status", "describe", "report"] {
        let arguments: &[&str] = if command == "ps" { &["ps"] } else { &[command, "mini"] };
        let shown = cluster.osler(arguments);
        assert!(shown.contains("WAIVED by owner (") && shown.contains("a test of gates"), "{command}: {shown}");
    }
    assert!(cluster.osler(&["report", "mini", "-o", "html"]).contains("<p class=\"open\">gate domain/full/seen WAIVED"));
    assert!(cluster.osler(&["report", "mini", "-o", "json"]).contains("\"reason\": \"a test of gates\""));
    assert_eq!(end(&mut up(&cluster, &file, &changes)).0, Some(0), "it is finished");
    assert_eq!(end(&mut osler(&cluster, &["status", "mini", "-w"])).0, Some(0));

    // The same run from another folder is the same run; with other content it is another one, and what differs is named.
    let elsewhere = cluster.folder.path().join("elsewhere");
    let copied = Command::new("cp").arg("-r").arg(cluster.folder.path().join("world")).arg(&elsewhere).status().unwrap();
    assert!(copied.success());
    let there = elsewhere.join("mini.toml");
    let (code, words) = end(&mut up(&cluster, there.to_str().unwrap(), &changes));
    assert_eq!(code, Some(0), "{words}");
    let text = fs::read_dir(elsewhere.join("general")).unwrap().next().unwrap().unwrap().path();
    fs::write(&text, fs::read_to_string(&text).unwrap() + "\n").unwrap();
    let (code, words) = end(&mut up(&cluster, there.to_str().unwrap(), &[&changes[..], &["seed=4"]].concat()));
    assert_eq!(code, Some(64), "{words}");
    assert!(words.contains("corpora.general.files.0: sha256:") && words.contains("seed: 3, now 4"), "{words}");
}

#[test]
fn daemons_that_nobody_needs_end_by_themselves() {
    let mut cluster = Cluster::new();
    // With short limits: nothing runs, nobody asks.
    cluster.start_coordinator_with(&["--end-when-idle", "1"]);
    cluster.start_agent_with("a", 1, &["--end-when-alone", "1"]);
    assert_eq!(cluster.wait_for_ends(), [Some(0), Some(0)]);
    assert!(!cluster.folder.path().join("scratch-a").exists(), "an agent takes its scratch folder with it");
}

#[test]
fn a_node_whose_ranks_cannot_start_takes_no_work_and_says_why() {
    let mut cluster = Cluster::new();
    cluster.start_coordinator();
    for (name, script, why) in [
        ("without", "echo 'libtorch_cpu.so: cannot open shared object file' >&2; exit 127", "exit code 127: libtorch_cpu.so"),
        ("other", "echo build 0.0.1-other", "its osler-rank is of build 0.0.1-other"),
    ] {
        let rank = cluster.folder.path().join(format!("rank-{name}"));
        fs::write(&rank, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&rank, fs::Permissions::from_mode(0o755)).unwrap();
        cluster.start_agent_with(name, 2, &["--rank-binary", rank.to_str().unwrap()]);
        let shown = wait_for("the node is listed", || {
            let shown = cluster.osler(&["node", "list", "-o", "json"]);
            shown.contains(&format!("\"worker\": \"{name}\"")).then_some(shown)
        });
        assert!(shown.contains("\"state\": \"unfit\"") && shown.contains(why), "{shown}");
    }
    // On one machine: `osler up` says so at once.
    let bin = cluster.folder.path().join("bin");
    fs::create_dir(&bin).unwrap();
    for name in ["osler-coordinator", "osler-worker"] {
        std::os::unix::fs::symlink(binary(name), bin.join(name)).unwrap();
    }
    fs::copy(cluster.folder.path().join("rank-without"), bin.join("osler-rank")).unwrap();
    let file = run_file(&cluster);
    let alone = cluster.folder.path().join("alone");
    let mut command = Command::new(binary("osler"));
    command.args(["up", &file, "--store"]).arg(&alone).env("OSLER_BIN_DIR", &bin).stdout(Stdio::null()).stderr(Stdio::piped());
    let (code, words) = end(&mut command);
    assert_eq!((code, words.contains("osler-rank does not run on this machine: exit code 127")), (Some(64), true), "{words}");
}
