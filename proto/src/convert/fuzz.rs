//! Damaged bytes for every message of the contract: each is refused, or is believed only as far as it was checked.

use super::*;
use osler_core::mutate::{damaged, rounds};
use osler_core::process::{Progress, Report};
use prost::Message;
use v1::process_status::Phase;

/// Runs `check` on what each damaged message decodes to.
fn damage<M: Message + Default>(seeds: &[M], check: impl Fn(u64, M)) {
    let seeds: Vec<Vec<u8>> = seeds.iter().map(Message::encode_to_vec).collect();
    for round in 0..rounds(std::env::var("OSLER_FUZZ").ok().as_deref()) {
        if let Ok(message) = M::decode(damaged(&seeds, round).as_slice()) {
            check(round, message);
        }
    }
}

fn process_id() -> Option<v1::ProcessId> {
    Some(v1::ProcessId { run: "r".into(), job: "train/s".into(), generation: 3, rank: 1 })
}

/// What is safe to build object names of.
fn safe(process: &ProcessId) -> bool {
    let key = process.id.to_string();
    key.len() < 400 && key.split('/').all(|part| !part.is_empty() && !part.contains("..")) && !key.contains('\\') && !key.contains('\0')
}

#[test]
fn a_damaged_sync_is_refused_or_safe() {
    let report_json = serde_json::to_vec(&Report::Progress(Progress::default())).unwrap();
    let exited = Phase::Exited(v1::Exited { code: 1, log_tail: vec!["last words".into()] });
    let seed = v1::SyncRequest {
        worker: "w".into(),
        incarnation: 7,
        host: "h".into(),
        slots: 2,
        processes: [Phase::Running(v1::Running {}), exited].map(|p| v1::ProcessStatus { process: process_id(), phase: Some(p) }).into(),
        reports: vec![v1::NumberedReport { seq: 5, process: process_id(), report_json }],
        draining: true,
        wait_ms: 9,
        seen_reply: 8,
        call: 4,
        labels: [("gpu".to_owned(), "h100".to_owned())].into(),
        health_json: br#"{"at":1,"folders":[{"path":"/s","free_bytes":1,"ms":2,"error":null}],"memory_available":3}"#.to_vec(),
        sent_at_ms: 6,
        epoch: 5,
    };
    damage(&[seed], |round, message| {
        let Ok(observed) = Observed::try_from(message) else { return };
        let named = observed.processes.iter().map(|p| &p.process).chain(observed.reports.iter().map(|r| &r.process));
        assert!(named.into_iter().all(safe), "round {round}: {observed:?}");
        let again = Observed::try_from(v1::SyncRequest::try_from(observed.clone()).unwrap()).unwrap();
        assert_eq!(again, observed, "round {round}");
    });
}

#[test]
fn a_damaged_reply_is_refused_or_safe() {
    let wanted = v1::Wanted { process: process_id(), assignment_json: vec![], rendezvous: "127.0.0.1:1".into(), stop: true, look: true };
    damage(&[v1::SyncReply { wanted: vec![wanted], acknowledged: 9, reply: 3, check: 2, epoch: 4 }], |round, message| {
        let Ok(desired) = Desired::try_from(message) else { return };
        assert!(desired.wanted.iter().all(|w| safe(&w.process)), "round {round}: {desired:?}");
        assert_eq!(Desired::try_from(v1::SyncReply::try_from(desired.clone()).unwrap()).unwrap(), desired, "round {round}");
    });
}

/// The rest of the contract has no conversion of its own: decoding must not panic, and what decodes is written back as it was read.
#[test]
fn every_other_message_decodes_or_is_refused() {
    macro_rules! messages {
        ($($seed:expr),* $(,)?) => {$(
            damage(&[$seed], |round, message| {
                let again = message.encode_to_vec();
                assert!(Message::decode(again.as_slice()).as_ref() == Ok(&message), "round {round}: {message:?}");
            });
        )*};
    }
    messages!(
        v1::SubmitRequest { spec_json: b"{\"name\":\"r\"}".to_vec(), sources_json: b"{}".to_vec() },
        v1::SubmitReply { run: "r".into(), created: true, state: "running".into() },
        v1::GetRunRequest { run: "r".into() },
        v1::GetRunReply {
            record_json: b"{}".to_vec(),
            alarm: "x".into(),
            progress: vec![Default::default()],
            waiting: vec![Default::default()],
            budgets: vec![Default::default()],
            doubted: vec!["x".into()]
        },
        v1::StopRunRequest { run: "r".into(), from: "a@b".into(), interrupted: true },
        v1::ResumeRunRequest { run: "r".into(), ranks: 2, waive_gates: vec!["e".into()], reason: "x".into(), from: "a@b".into() },
        v1::RemoveRunRequest { run: "r".into(), from: "a@b".into() },
        v1::DoubtObjectRequest { run: "r".into(), path: "runs/r/x".into(), from: "a@b".into() },
        v1::PinCheckpointRequest { run: "r".into(), stage: "s".into(), step: 3, pinned: true },
        v1::RewindStageRequest { run: "r".into(), stage: "s".into(), to: 1, skip_from: 2, skip_to: 3, ranks: 4 },
        v1::ListRunsReply {
            runs: vec![v1::RunLine { run: "r".into(), step: 3, ..Default::default() }],
            alarm: "x".into(),
            removing: vec!["q".into()]
        },
        v1::ListWorkersReply { workers: vec![v1::WorkerLine { worker: "w".into(), slots: 3, ..Default::default() }] },
        v1::ListQueueReply { queue: vec![Default::default()], quotas: vec![v1::QuotaLine { team: "t".into(), slots: Some(3), used: 1 }] },
        v1::SetQuotaRequest { team: "t".into(), slots: Some(3) },
        v1::DrainNodeRequest { worker: "w".into(), drain: true, reason: "x".into() },
        v1::CheckNodeRequest { worker: "w".into() },
        v1::CreateTokenRequest { name: "n".into(), role: "viewer".into(), sha256: vec![7; 32], worker: "a".into() },
        v1::ListTokensReply { tokens: vec![v1::TokenLine { name: "n".into(), ..Default::default() }] },
        v1::RevokeTokenRequest { name: "n".into() },
        v1::ListCallsRequest { last: 7 },
        v1::ListCallsReply { entry_json: vec![b"{}".to_vec()] },
    );
}
