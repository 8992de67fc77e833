//! What is sent comes back equal; what breaks the contract is refused with the field's name.

use super::*;
use osler_core::ids::{Epoch, Millis};
use osler_core::job::JobKey;
use osler_core::process::{Progress, Report};

fn process_id() -> ProcessId {
    ProcessId { id: JobId { run: RunName::new("r").unwrap(), job: JobKey::from("train/s") }, generation: Generation(3), rank: 1 }
}

fn observed() -> Observed {
    Observed {
        worker: WorkerName::new("w").unwrap(),
        incarnation: Incarnation(7),
        call: 8,
        epoch: Epoch(4),
        host: "h".into(),
        slots: 2,
        processes: vec![
            ProcessStatus { process: process_id(), phase: ProcessPhase::Running },
            ProcessStatus { process: process_id(), phase: ProcessPhase::Exited { code: 137, log_tail: vec!["last words".into()] } },
        ],
        reports: vec![NumberedReport { seq: 5, process: process_id(), report: Report::Progress(Progress::default()) }],
        draining: true,
        labels: BTreeMap::from([(LabelKey::new("gpu").unwrap(), LabelValue::new("h100").unwrap())]),
        health: Some(Health { at: Millis(3), folders: vec![], memory_available: Some(4), gpus: vec![], ranks: None, overdue_ms: None }),
        skew: 0,
    }
}

#[test]
fn a_sync_survives_the_wire() {
    let wire = v1::SyncRequest::try_from(observed()).unwrap();
    assert_eq!(Observed::try_from(wire).unwrap(), observed());
    let wanted = Wanted { process: process_id(), assignment: None, rendezvous: Some("127.0.0.1:1".into()), stop: true, look: true };
    let desired = Desired { wanted: vec![wanted], acknowledged: 9, check: 2, epoch: Epoch(5) };
    let wire = v1::SyncReply::try_from(desired.clone()).unwrap();
    assert_eq!(wire.reply, reply_number(&desired));
    assert_eq!(Desired::try_from(wire).unwrap(), desired);
}

fn exited(log_tail: Vec<String>) -> Option<v1::process_status::Phase> {
    Some(v1::process_status::Phase::Exited(v1::Exited { code: 1, log_tail }))
}

#[test]
fn broken_messages_name_the_field() {
    let break_it = |change: &dyn Fn(&mut v1::SyncRequest)| {
        let mut wire = v1::SyncRequest::try_from(observed()).unwrap();
        change(&mut wire);
        Observed::try_from(wire).unwrap_err().to_string()
    };
    for (field, change) in [
        ("worker", &(|w: &mut v1::SyncRequest| w.worker = "../x".into()) as &dyn Fn(&mut v1::SyncRequest)),
        ("processes.process", &|w| w.processes[0].process = None),
        ("processes.phase", &|w| w.processes[0].phase = None),
        ("process.run", &|w| w.reports[0].process.as_mut().unwrap().run = "A".into()),
        ("reports.report_json", &|w| w.reports[0].report_json = b"{\"report\":\"nothing\"}".to_vec()),
        ("process.job", &|w| w.processes[0].process.as_mut().unwrap().job = "train/../../x".into()),
        ("process.rank", &|w| w.processes[0].process.as_mut().unwrap().rank = u32::MAX),
        ("processes.log_tail", &|w| w.processes[1].phase = exited(vec![String::new(); 65])),
        ("processes.log_tail", &|w| w.processes[1].phase = exited(vec!["x".repeat(65 << 10)])),
        ("processes", &|w| w.processes = vec![w.processes[0].clone(); MAX_PROCESSES + 1]),
        ("host", &|w| w.host = "x".repeat(MAX_HOST + 1)),
        ("host", &|w| w.host = "a\nb".into()),
        ("reports.report_json", &|w| w.reports[0].report_json = [[b'['; 200], [b']'; 200]].concat()),
        ("reports.report_json", &|w| w.reports[0].report_json = vec![b' '; 25 << 20]),
        ("labels", &|w| drop(w.labels.insert("GPU".into(), "x".into()))),
        ("labels", &|w| w.labels.extend((0..=MAX_LABELS).map(|i| (i.to_string(), "x".into())))),
        ("health_json", &|w| w.health_json = b"{}".to_vec()),
        ("health_json", &|w| w.health_json = vec![b' '; MAX_HEALTH_BYTES + 1]),
        ("reports", &|w| w.reports = vec![w.reports[0].clone(); MAX_REPORTS + 1]),
    ] {
        let message = break_it(change);
        assert!(message.contains(&format!("field {field}")), "{field}: {message}");
    }
}
