//! What the owner's writes promise beside the ledger's own rules.

use super::*;
use crate::testing::spec;
use osler_core::ids::Millis;
use osler_runtime::store::Store;

const NOW: Millis = Millis(5);

/// Found by the simulation: the write is stalled while another coordinator reigns and writes so many versions that the name is free.
#[tokio::test]
async fn a_version_whose_name_is_free_again_is_not_ours_to_write() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().to_str().unwrap()).unwrap();
    let run = BTreeSet::from([RunName::new("r").unwrap()]);
    let old = Ledger::open(store.clone(), NOW).await.unwrap();
    let mut stalled = Cluster::new(NOW, old.epoch(), "", Limits::default());
    stalled.apply(NOW, Event::Submit(Box::new(spec("r")))).answer.unwrap();
    commit(&mut stalled, &old, vec![], &run).await.unwrap();
    let new = Ledger::open(store, NOW).await.unwrap();
    let mut cluster = Cluster::new(NOW, new.epoch(), "", Limits::default());
    cluster.adopt_cluster(new.load_cluster().await.unwrap());
    new.load().await.unwrap().into_iter().for_each(|record| cluster.adopt(record));
    for _ in 0..25 {
        commit(&mut cluster, &new, vec![], &run).await.unwrap();
    }
    let late = commit(&mut stalled, &old, vec![], &run).await;
    assert!(matches!(late, Err(LedgerError::Fenced { .. })), "{late:?}");
    assert_eq!(new.load().await.unwrap()[0].version, 26, "the newest version is what counts");
}
