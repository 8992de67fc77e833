//! A small store, and what is found when something of it is damaged.

use super::*;
use crate::fixture;
use crate::terminal::View;
use osler_core::checkpoint::{Manifest, ObjectRef};
use osler_core::ids::{Epoch, Generation, StageName};
use osler_core::job::JobKey;
use osler_core::paths;
use osler_core::record::{RunRecord, RunState};
use osler_core::removal::Remains;
use osler_runtime::store::Store;

/// The finished run of the fixture, with objects under the names that real ones have.
async fn store(folder: &tempfile::TempDir) -> (Store, RunRecord) {
    let store = Store::open(folder.path().to_str().unwrap()).unwrap();
    let (mut record, manifests) = fixture::finished();
    record.next_generation = Generation(40); // beyond all that its checkpoints bear
    let keys: Vec<JobKey> = record.jobs.keys().cloned().collect();
    for key in keys {
        let id = record.id(&key);
        let Some(osler_core::record::JobState::Succeeded { generation, result, .. }) = record.jobs.get_mut(&key).map(|job| &mut job.status)
        else {
            continue;
        };
        for (name, object) in &mut result.outputs {
            *object = store.put(&paths::output(&id, *generation, name), key.as_str().to_owned().into()).await.unwrap();
        }
    }
    for (stage, all) in manifests {
        for (at, mut manifest) in all.into_iter().enumerate() {
            let published = record.checkpoints[&stage][at].clone();
            let id = record.id(&osler_core::plan::train_key(&stage));
            for (rank, part) in manifest.parts.iter_mut().enumerate() {
                let path = paths::part(&id, manifest.generation, manifest.step, rank as u32);
                *part = match published.retired {
                    true => ObjectRef { path, ..part.clone() },
                    false => store.put(&path, format!("part {rank}").into()).await.unwrap(),
                };
            }
            let object = put_manifest(&store, &record, &stage, &manifest).await;
            record.checkpoints.get_mut(&stage).unwrap()[at].manifest = object;
        }
    }
    write(&store, &mut record).await;
    (store, record)
}

async fn put_manifest(store: &Store, record: &RunRecord, stage: &StageName, manifest: &Manifest) -> ObjectRef {
    let path = paths::manifest(record.name(), stage, manifest.step, manifest.generation);
    store.put(&path, serde_json::to_vec(manifest).unwrap().into()).await.unwrap()
}

async fn write(store: &Store, record: &mut RunRecord) {
    record.version += 1;
    store.create(&paths::state(record.name(), record.version), serde_json::to_vec(record).unwrap().into()).await.unwrap();
}

async fn check(store: &Store, quick: bool) -> Check {
    let mut check = Check { quick, ..Check::default() };
    checks::whole_store(store, quick, false, &mut check).await.unwrap();
    for run in checks::runs(store).await.unwrap() {
        checks::run(store, &run, quick, &mut check).await.unwrap();
    }
    check
}

async fn kinds(store: &Store, quick: bool) -> Vec<(Kind, Mend)> {
    check(store, quick).await.findings.iter().map(|finding| (finding.kind, finding.mend)).collect()
}

#[tokio::test]
async fn a_whole_store_has_no_findings_and_all_of_it_was_read() {
    let folder = tempfile::tempdir().unwrap();
    let (store, record) = store(&folder).await;
    let check = check(&store, false).await;
    assert!(check.findings.is_empty(), "{:?}", check.findings);
    let kept = record.checkpoints.values().flatten().filter(|c| !c.retired).count();
    let objects = record.jobs.len() + record.checkpoints.values().flatten().count() + 2 * kept;
    assert_eq!((check.runs, check.objects), (1, objects as u64));
    assert!(page(&Check { ok: true, ..check }).render(View::columns(80)).contains("nothing is wrong"));
}

#[tokio::test]
async fn damage_is_found_with_what_it_costs_and_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut record) = store(&folder).await;
    let export = record.result(&JobKey::from("export/domain")).unwrap().outputs["out"].path.clone();
    store.put(&export, "other/domain!".into()).await.unwrap();
    assert_eq!(kinds(&store, true).await, [], "of as many bytes");
    assert_eq!(kinds(&store, false).await, [(Kind::Output, Mend::Doubt)]);
    store.delete(&export).await.unwrap();
    assert_eq!(kinds(&store, true).await, [(Kind::Output, Mend::Doubt)]);

    let domain = StageName::new("domain").unwrap();
    let [retired, newest] = &record.checkpoints[&domain][..] else { panic!() };
    let (retired, part) = (retired.manifest.path.clone(), record.parts(&domain, newest)[1].clone());
    store.delete(&retired).await.unwrap();
    store.delete(&part).await.unwrap();
    let found = [(Kind::Output, Mend::Doubt), (Kind::RetiredManifest, Mend::ByHand), (Kind::Checkpoint, Mend::ByHand)];
    assert_eq!(kinds(&store, true).await, found, "the run is finished");
    record.state = RunState::Stopped;
    write(&store, &mut record).await;
    assert_eq!(kinds(&store, true).await[2], (Kind::Checkpoint, Mend::ByHand), "there is no older one");
    record.checkpoints.get_mut(&domain).unwrap()[0].retired = false;
    write(&store, &mut record).await;
    let found = kinds(&store, true).await;
    assert_eq!(found[1..], [(Kind::Checkpoint, Mend::Doubt), (Kind::Checkpoint, Mend::Doubt)]);
    let shown = page(&check(&store, true).await).render(View::columns(80));
    for word in [export.as_str(), "is missing", "costs doing export/domain again", "osler resume tiny"] {
        let words: Vec<&str> = shown.split_whitespace().collect();
        assert!(words.join(" ").contains(word), "{word} is missing from\n{shown}");
    }
}

#[tokio::test]
async fn a_torn_record_is_judged_by_what_followed_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut record) = store(&folder).await;
    write(&store, &mut record).await;
    let newest = paths::state(record.name(), record.version);
    store.put(&newest, "{".into()).await.unwrap();
    assert_eq!(kinds(&store, false).await, [(Kind::Record, Mend::Start)]);
    let later = format!("runs/tiny/jobs/tokenizer/g{}/out", record.next_generation);
    store.put(&later, "x".into()).await.unwrap();
    assert_eq!(kinds(&store, false).await, [(Kind::Record, Mend::ByHand)]);
    assert!(check(&store, false).await.findings[0].way_out.contains(&later));
}

#[tokio::test]
async fn what_is_nobodys_costs_space_only() {
    let folder = tempfile::tempdir().unwrap();
    let (store, record) = store(&folder).await;
    let put = async |path: &str| {
        let file = folder.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, "x").unwrap();
    };
    put("runs/tiny/jobs/clean/domain/00000/g0/out").await;
    put("runs/tiny/logs/clean/domain/00000/g1/rank-00000.log").await;
    put("runs/tiny/notes.txt").await;
    put("coordinator/epoch/00000001.json#3").await;
    put("coordinator/epoch/.DS_Store").await;
    let remains = Remains { run: RunName::new("gone").unwrap(), version: 9, next_generation: Generation(3) };
    store.put(&remains.note(), "{}".into()).await.unwrap();
    put("runs/gone/jobs/tokenizer/g2/tokenizer.json").await;
    store.put(&paths::epoch(Epoch(1)), "{}".into()).await.unwrap();
    let check = check(&store, false).await;
    assert!(check.findings.iter().all(|finding| finding.harmless), "{:?}", check.findings);
    let mut found: Vec<Kind> = check.findings.iter().map(|finding| finding.kind).collect();
    found.sort_by_key(|kind| format!("{kind:?}"));
    assert_eq!(found, [Kind::Foreign, Kind::Foreign, Kind::Leftover, Kind::Removed, Kind::Temporary]);
    assert!(record.state == RunState::Finished);
}

#[tokio::test]
async fn a_damaged_book_of_tokens_keeps_coordinators_away_and_a_damaged_record_of_the_cluster_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = store(&folder).await;
    store.put(&paths::tokens(3), "{".into()).await.unwrap();
    store.put(&paths::cluster(1), "{".into()).await.unwrap();
    assert_eq!(kinds(&store, true).await, [(Kind::ClusterRecord, Mend::Start), (Kind::Tokens, Mend::Forget)]);
    let check = check(&store, true).await;
    assert!(check.findings[1].way_out.contains("--forget-tokens"), "{:?}", check.findings[1]);
}

#[tokio::test]
async fn a_page_of_events_costs_its_events_only() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut record) = store(&folder).await;
    record.version += 1;
    for (path, bytes) in record.turn_pages(osler_core::history::PageSize { checkpoints: 64, events: 2 }) {
        store.put(&path, bytes.into()).await.unwrap();
    }
    store.create(&paths::state(record.name(), record.version), record.head().into()).await.unwrap();
    assert_eq!(kinds(&store, false).await, []);
    let page = record.history.events[0].object.path.clone();
    store.put(&page, "{".into()).await.unwrap();
    assert_eq!(kinds(&store, false).await, [(Kind::Events, Mend::ByHand)]);
    store.delete(&page).await.unwrap();
    let check = check(&store, true).await;
    let finding = &check.findings[0];
    assert_eq!((finding.kind, finding.object.as_str(), finding.way_out.as_str()), (Kind::Events, page.as_str(), "restore it from a copy"));
    assert!(finding.costs.starts_with("2 events"), "{}", finding.costs);
}

#[tokio::test]
async fn what_others_left_in_folders_is_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = store(&folder).await;
    for path in [
        "coordinator/audit/.DS_Store",
        "coordinator/audit/00000001/.nfs0001",
        "coordinator/audit/00000001/notes.txt",
        "coordinator/audit/00000001/1.json",
        "runs/gone/.DS_Store",
    ] {
        let file = folder.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, "x").unwrap();
    }
    let strays = check(&store, false).await;
    assert!(strays.findings.iter().all(|finding| finding.kind == Kind::Foreign), "{:?}", strays.findings);
    assert_eq!(strays.findings.len(), 5);
    store.put(&paths::audit(Epoch(1), 1), "x".into()).await.unwrap();
    assert!(kinds(&store, false).await.contains(&(Kind::CallLog, Mend::ByHand)), "an entry that is damaged is found");
    store.put("runs/gone/jobs/tokenizer/g2/tokenizer.json", "x".into()).await.unwrap();
    assert!(kinds(&store, false).await.contains(&(Kind::Record, Mend::ByHand)), "objects of a run without a record are found");
}

#[tokio::test]
async fn a_missing_ledger_names_the_commands_of_its_run() {
    let folder = tempfile::tempdir().unwrap();
    let (store, record) = store(&folder).await;
    store.delete(&record.checkpoints[&StageName::new("domain").unwrap()][0].manifest.path).await.unwrap();
    let costs = check(&store, true).await.findings[0].costs.clone();
    assert!(costs.contains("`osler audit tiny`") && costs.contains("`osler report tiny`"), "{costs}");
}
