//! What runs may read beside their store, judged where a job starts: whoever may submit cannot have the agent's user read anything for him.

use crate::cluster::{Cluster, TRAINING_ALONE, mini_spec};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use osler_core::record::RunState;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

#[test]
fn a_job_reads_regular_files_of_the_named_folders_alone_and_what_it_leaves_is_its_owners() {
    let mut cluster = Cluster::new();
    cluster.start_coordinator();
    cluster.start_agent("a", 2);
    let folder = cluster.folder.path().to_owned();
    let pipe = folder.join("pipe.jsonl");
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    symlink("/etc/passwd", folder.join("link.jsonl")).unwrap();
    let mut spec = mini_spec(&folder, &TRAINING_ALONE);
    for (name, file, word) in [("fifo", "pipe.jsonl", "is a named pipe"), ("escape", "link.jsonl", "it leads to /etc/passwd")] {
        spec.name = name.parse().unwrap();
        spec.corpora.values_mut().for_each(|corpus| corpus.files = vec![folder.join(file).to_string_lossy().into_owned()]);
        cluster.submit(&spec).unwrap();
        let record = cluster.wait_until(name, "the run has failed", |r| matches!(r.state, RunState::Failed(_)));
        let why: Vec<&str> =
            record.jobs.values().flat_map(|job| &job.past).filter_map(|past| Some(past.fault.as_ref()?.message.as_str())).collect();
        assert!(why.iter().any(|why| why.contains(word) && why.contains(file)), "{why:?}");
    }
    let store = cluster.store();
    for object in ["runs/fifo/state", "runs/fifo/state/0000000001.json", "coordinator/epoch/00000001.json"] {
        let mode = fs::metadata(store.join(object)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{object} has mode {mode:o}");
    }
}
