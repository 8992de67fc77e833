//! A record through JSON, also one of an older version.

use super::*;
use crate::job::{Fault, FaultClass};

#[test]
fn a_states_name_says_whether_the_run_lives() {
    let why = || "why".to_owned();
    let (failing, failed) = (RunState::Failing(why()), RunState::Failed(why()));
    for state in [
        RunState::Submitted,
        RunState::Running,
        RunState::Stopping,
        RunState::Stopped,
        failing,
        failed,
        RunState::Finished,
        RunState::Removed,
    ] {
        assert_eq!(RunState::is_live_name(state.as_str()), state.is_live(), "{state:?}");
    }
}

#[test]
fn a_record_survives_json_in_every_state_of_a_job() {
    let place = Place { worker: WorkerName::new("w").unwrap(), incarnation: Incarnation(1) };
    let attempt = Attempt {
        generation: Generation(1),
        places: vec![place],
        started_at: Millis(1),
        rendezvous: None,
        ended: BTreeMap::from([(4, RankEnd::Stopped { step: 9 })]),
        others: BTreeMap::from([("w/1".to_owned(), "internal: y".to_owned())]),
        parts: BTreeMap::from([(9, vec![])]),
        published: 0,
        leave: Some(Cause::Stopped),
        backfill: true,
        began: Some(Age { watched: 7, alone: 8 }),
    };
    let fault = Fault::new(FaultClass::Internal, "x");
    let planned = PlannedJob { kind: JobKind::Tokenizer, needs: BTreeSet::new(), ranks: 1 };
    for status in [
        JobState::Blocked,
        JobState::Pending { since: Millis(1), not_before: Millis(2) },
        JobState::Active { attempt: attempt.clone() },
        JobState::Ending { attempt: attempt.clone(), next: Then::Requeue { cause: Some(Cause::Stopped) } },
        JobState::Ending { attempt, next: Then::Retry { fault: fault.clone(), not_before: Millis(3) } },
        JobState::Failed { at: Millis(4), fault },
    ] {
        let record = JobRecord::new(planned.clone(), status);
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<JobRecord>(&json).unwrap(), record, "{json}");
    }
}

#[test]
fn what_older_versions_wrote_still_loads() {
    let json = r#"{"then":"requeue"}"#;
    assert_eq!(serde_json::from_str::<Then>(json).unwrap(), Then::Requeue { cause: None });
    let json = r#"{"id":1,"at":2,"kind":"run","job":null,"generation":null,"message":"stopping"}"#;
    assert_eq!(serde_json::from_str::<Event>(json).unwrap().reason, None);
    let json = r#"{"generation":1,"places":[],"started_at":1,"rendezvous":null,"ended":[],"parts":[],"published":0}"#;
    let attempt: Attempt = serde_json::from_str(json).unwrap();
    assert_eq!((attempt.leave, attempt.backfill, attempt.began), (None, false, None));
}
