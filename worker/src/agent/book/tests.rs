//! The book turns any order of wishes and ends into the right actions, once.

use super::*;
use osler_core::ids::{Epoch, Generation, RunName};
use osler_core::job::{JobId, JobKey, JobKind};
use osler_core::process::Progress;
use osler_core::spec::parse;
use osler_core::sync::Wanted;

fn book() -> Book {
    Book::new(WorkerName::new("w").unwrap(), Incarnation(1), "host".into(), 2)
}

fn process(generation: u64) -> ProcessId {
    let id = JobId { run: RunName::new("r").unwrap(), job: JobKey::from("train/s") };
    ProcessId { id, generation: Generation(generation), rank: 0 }
}

fn assignment(generation: u64) -> Assignment {
    let spec = parse(include_str!("../../../../configs/quickstart.toml"), "quickstart.toml", &[]).unwrap();
    Assignment {
        id: process(generation).id,
        kind: JobKind::Tokenizer,
        generation: Generation(generation),
        rank: 0,
        world_size: 1,
        store: "unused".into(),
        spec,
        inputs: BTreeMap::new(),
        checkpoint: None,
        initial: None,
        batches: Default::default(),
    }
}

fn wanted(generation: u64) -> Wanted {
    Wanted { process: process(generation), assignment: Some(assignment(generation)), rendezvous: None, stop: false, look: false }
}

fn names(actions: &[Action]) -> Vec<String> {
    let name = |action: &Action| match action {
        Action::Start(p, ..) => format!("start {}", p.generation),
        Action::Send(p, Command::Rendezvous { .. }) => format!("rendezvous {}", p.generation),
        Action::Send(p, Command::Stop) => format!("stop {}", p.generation),
        Action::Look(p) | Action::Send(p, Command::Look) => format!("look {}", p.generation),
        Action::Kill(p) => format!("kill {}", p.generation),
    };
    actions.iter().map(name).collect()
}

fn apply(book: &mut Book, wanted: Vec<Wanted>) -> Vec<String> {
    names(&book.apply(Desired { wanted, acknowledged: 0, check: 0, epoch: Epoch(1) }))
}

#[test]
fn a_look_is_asked_for_once_by_each_coordinator() {
    let mut book = book();
    let asked: Vec<bool> = [0, 1, 1, 2, 0, 1].map(|check| book.check_asked(check)).into();
    assert_eq!(asked, [false, true, false, true, false, true]);
}

#[test]
fn a_wish_is_acted_on_once() {
    let mut book = book();
    assert_eq!(apply(&mut book, vec![wanted(1)]), ["start 1"]);
    assert_eq!(apply(&mut book, vec![wanted(1)]), [] as [&str; 0]);
    let meet = Wanted { assignment: None, rendezvous: Some("127.0.0.1:1".into()), stop: true, ..wanted(1) };
    assert_eq!(apply(&mut book, vec![meet.clone()]), ["rendezvous 1", "stop 1"]);
    assert_eq!(apply(&mut book, vec![meet]), [] as [&str; 0]);
}

#[test]
fn an_unwanted_process_is_listed_until_it_is_gone() {
    let mut book = book();
    apply(&mut book, vec![wanted(1)]);
    assert_eq!(apply(&mut book, vec![wanted(2)]), ["kill 1", "start 2"]);
    assert_eq!(apply(&mut book, vec![wanted(2)]), [] as [&str; 0], "killed twice");
    let running = |book: &Book| {
        book.observed().processes.iter().map(|p| (p.process.generation.0, p.phase == ProcessPhase::Running)).collect::<Vec<_>>()
    };
    assert_eq!(running(&book), [(1, true), (2, true)]);
    book.exited(&process(1), 137, vec![]);
    assert_eq!(running(&book), [(1, false), (2, true)]);
    apply(&mut book, vec![wanted(2)]);
    assert_eq!(running(&book), [(2, true)]);
}

#[test]
fn an_ended_process_that_is_still_wanted_is_not_started_again() {
    let mut book = book();
    apply(&mut book, vec![wanted(1)]);
    book.exited(&process(1), 1, vec!["last words".into()]);
    assert_eq!(apply(&mut book, vec![wanted(1)]), [] as [&str; 0]);
    assert_eq!(book.observed().processes.len(), 1);
}

#[test]
fn reports_wait_until_they_are_acknowledged_and_progress_does_not_pile_up() {
    let mut book = book();
    apply(&mut book, vec![wanted(1)]);
    assert!(book.reported(process(1), Report::Stopped { step: 1 }));
    for done in 0..100 {
        assert!(!book.reported(process(1), Report::Progress(Progress { done, ..Progress::default() })));
    }
    assert_eq!(book.observed().reports.iter().map(|r| r.seq).collect::<Vec<_>>(), [1, 101]);
    book.apply(Desired { wanted: vec![wanted(1)], acknowledged: 1, check: 0, epoch: Epoch(1) });
    assert_eq!(book.observed().reports.iter().map(|r| r.seq).collect::<Vec<_>>(), [101]);
}

#[test]
fn only_an_unexpected_death_is_news() {
    let mut book = book();
    apply(&mut book, vec![wanted(1), wanted(2), wanted(3)]);
    book.reported(process(1), Report::Stopped { step: 1 });
    assert!(!book.exited(&process(1), 137, vec![]), "it had said how it ended");
    apply(&mut book, vec![wanted(3)]);
    assert!(!book.exited(&process(2), 137, vec![]), "it was asked to end");
    assert!(book.exited(&process(3), 137, vec![]));
}

#[test]
fn a_gang_is_asked_to_save_once_when_the_agent_is_to_end() {
    let mut book = book();
    let train =
        Wanted { assignment: Some(Assignment { kind: JobKind::Train { stage: "s".parse().unwrap() }, ..assignment(2) }), ..wanted(2) };
    apply(&mut book, vec![wanted(1), train]);
    assert_eq!(names(&book.drain()), ["stop 2"], "what cannot save waits for the coordinator to take it back");
    let asked = Wanted { assignment: None, stop: true, ..wanted(2) };
    assert_eq!(apply(&mut book, vec![asked]), ["kill 1"]);
}

#[test]
fn a_draining_agent_starts_nothing() {
    let mut book = book();
    book.drain();
    assert_eq!(apply(&mut book, vec![wanted(1)]), [] as [&str; 0]);
    assert!(book.is_empty());
}

#[test]
fn ranks_that_need_a_gpu_get_different_ones_and_give_them_back() {
    let mut book = Book::new(WorkerName::new("w").unwrap(), Incarnation(1), "host".into(), 4);
    let wanted = |rank: u32, device| {
        let process = ProcessId { rank, ..process(1) };
        let kind = JobKind::Train { stage: osler_core::ids::StageName::new("s").unwrap() };
        let mut assignment = Assignment { kind, rank, world_size: 3, ..assignment(1) };
        assignment.spec.resources.device = device;
        Wanted { process, assignment: Some(assignment), rendezvous: None, stop: false, look: false }
    };
    let gpus = |actions: Vec<Action>| {
        actions
            .into_iter()
            .filter_map(|action| if let Action::Start(p, _, gpu) = action { Some((p.rank, gpu)) } else { None })
            .collect::<Vec<_>>()
    };
    let mut all = vec![wanted(0, DeviceKind::Cuda), wanted(1, DeviceKind::Cuda), wanted(2, DeviceKind::Cpu)];
    let first = book.apply(Desired { wanted: all.clone(), acknowledged: 0, check: 0, epoch: Epoch(1) });
    assert_eq!(gpus(first), [(0, Some(0)), (1, Some(1)), (2, None)]);
    book.exited(&all[0].process, 0, vec![]);
    all.push(wanted(3, DeviceKind::Cuda));
    let second = book.apply(Desired { wanted: all, acknowledged: 0, check: 0, epoch: Epoch(1) });
    assert_eq!(gpus(second), [(3, Some(0))], "number 0 is free again, 1 is not");
}

#[test]
fn a_process_is_looked_at_once_each_time_that_it_is_asked_for() {
    let mut book = book();
    apply(&mut book, vec![wanted(1)]);
    let asked = |look| Wanted { assignment: None, look, ..wanted(1) };
    let looks = [true, true, false, false, true].map(|look| apply(&mut book, vec![asked(look)]).len());
    assert_eq!(looks, [1, 0, 0, 0, 1]);
    book.exited(&process(1), 0, vec![]);
    assert_eq!(apply(&mut book, vec![asked(false)]).len() + apply(&mut book, vec![asked(true)]).len(), 0, "it has ended");
}

#[test]
fn a_coordinator_that_has_a_successor_is_not_obeyed() {
    let mut book = book();
    let desired = |wanted, epoch| Desired { wanted, acknowledged: 0, check: 0, epoch: Epoch(epoch) };
    assert_eq!(names(&book.apply(desired(vec![wanted(2)], 3))), ["start 2"]);
    assert_eq!(names(&book.apply(desired(vec![wanted(1)], 2))), [""; 0], "neither started nor killed");
    assert_eq!(book.observed().epoch, Epoch(3));
    assert_eq!(names(&book.apply(desired(vec![wanted(2)], 4))), [""; 0]);
    assert_eq!(book.observed().epoch, Epoch(4));
}

/// An agent that was frozen gets old answers after it: what it has begun on their word is being killed when the newer one comes.
#[test]
fn nothing_starts_while_what_is_being_killed_holds_the_slots() {
    let mut book = book();
    assert_eq!(apply(&mut book, vec![wanted(1), wanted(2)]), ["start 1", "start 2"]);
    assert_eq!(apply(&mut book, vec![wanted(3)]), ["kill 1", "kill 2"]);
    assert_eq!(apply(&mut book, vec![wanted(3)]), [] as [&str; 0]);
    book.exited(&process(1), 137, vec![]);
    assert_eq!(apply(&mut book, vec![wanted(3)]), ["start 3"]);
}
