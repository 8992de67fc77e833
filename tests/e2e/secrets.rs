//! No secret leaves the file that it is kept in: not into a log at the most talkative level, the store, a report, or a process's arguments.

use crate::cluster::{Cluster, TRAINING_ALONE, binary, descendants, mini_spec, wait_for};
use osler_core::ids::StageName;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// As a bucket's credentials would be given.
const CREDENTIAL: &str = "wJalrXUtnFEMIz7K7MDENGzbPxRfiCYEXAMPLEKEY";

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        for pid in descendants(self.0.id()) {
            crate::cluster::signal(pid, nix::sys::signal::Signal::SIGKILL);
        }
        let _reaped = self.0.wait();
    }
}

fn command(cluster: &Cluster, program: &str, log: &str) -> Command {
    let file = || File::options().create(true).append(true).open(cluster.folder.path().join(log)).unwrap();
    let mut command = Command::new(binary(program));
    command.env("OSLER_LOG", "trace").env("AWS_SECRET_ACCESS_KEY", CREDENTIAL).env("OSLER_STORE", cluster.store());
    command.current_dir(cluster.folder.path()).stdin(Stdio::null()).stdout(file()).stderr(file());
    command
}

/// With the files of its role, in whose log it says what it does.
fn daemon(cluster: &Cluster, program: &str, role: &str, options: &[&str]) -> Daemon {
    let mut command = command(cluster, program, &format!("{role}.log"));
    command.arg("--store").arg(cluster.store()).arg("--tls").arg(cluster.folder.path().join("certificates").join(role)).args(options);
    Daemon(command.spawn().unwrap())
}

fn osler(cluster: &Cluster, arguments: &[&str]) {
    let mut osler = command(cluster, "osler", "osler.log");
    let status = osler.env("OSLER_TLS", cluster.folder.path().join("certificates/admin")).args(arguments).status().unwrap();
    assert!(status.success(), "osler {arguments:?}: {}", fs::read_to_string(cluster.folder.path().join("osler.log")).unwrap());
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Tokens whole, keys line by line: each line of one is told from chance by its length.
fn secrets(homes: &[PathBuf]) -> Vec<String> {
    let lines = homes.iter().flat_map(|home| fs::read_to_string(home).unwrap().lines().map(str::to_owned).collect::<Vec<_>>());
    lines.filter(|line| line.len() >= 40 && !line.starts_with("-----")).chain([CREDENTIAL.to_owned()]).collect()
}

#[test]
fn no_secret_is_found_outside_of_the_file_that_keeps_it() {
    let cluster = Cluster::new();
    let folder = cluster.folder.path();
    osler(&cluster, &["cluster", "init", "certificates", "--host", "127.0.0.1"]);
    let certificates = folder.join("certificates");
    let coordinator = daemon(&cluster, "osler-coordinator", "coordinator", &["--token-file", "owner", "--listen", "127.0.0.1:0"]);
    wait_for("the coordinator listens", || cluster.store().join("coordinator/endpoint.json").exists().then_some(()));
    let agent = daemon(&cluster, "osler-worker", "agent", &["--slots", "2", "--scratch", "scratch", "--state", "state", "--may-read", "."]);

    mini_spec(folder, &[]); // makes the world that the run file names
    fs::write(folder.join("world/mini.toml"), include_str!("mini.toml")).unwrap();
    let changes = TRAINING_ALONE.iter().chain(&["stage.domain.steps=1000"]).flat_map(|change| ["--set", change]);
    osler(&cluster, &["submit", "world/mini.toml"].into_iter().chain(changes).collect::<Vec<_>>());
    osler(&cluster, &["token", "create", "--role", "viewer", "--name", "ann", "--out", "ann"]);
    let domain = StageName::new("domain").unwrap();
    cluster.wait_until("mini", "ranks in the midst of a stage", |record| record.published_steps(&domain) > 0);
    let shown: Vec<Vec<u8>> = [&coordinator, &agent]
        .into_iter()
        .flat_map(|daemon| descendants(daemon.0.id()))
        .map(|pid| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default())
        .collect();
    cluster.wait_finished("mini");
    for looking in [
        &["status", "mini"][..],
        &["cluster", "log"],
        &["node", "list"],
        &["token", "list"],
        &["bug-report", "mini", "--out", "bug.tar.gz"],
    ] {
        osler(&cluster, looking);
    }
    let unpacked = Command::new("tar").args(["-xzf", "bug.tar.gz"]).current_dir(folder).status().unwrap();
    assert!(unpacked.success());

    let is_home = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        [certificates.join("ca-key.pem"), folder.join("owner"), folder.join("ann")].contains(path)
            || (path.starts_with(&certificates) && ["token", "key.pem"].contains(&name))
    };
    let (homes, others): (Vec<PathBuf>, Vec<PathBuf>) = files(folder).into_iter().partition(is_home);
    let secrets = secrets(&homes);
    assert!(homes.len() >= 7 && secrets.len() > 10, "{homes:?}");
    for log in ["coordinator.log", "agent.log"] {
        assert!(fs::read_to_string(folder.join(log)).unwrap().contains("TRACE"), "{log} is not as talkative as it can be");
    }
    assert!(others.iter().any(|path| path.ends_with("osler-bug/record.json")) && shown.len() >= 4);
    let holds = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        secrets.iter().any(|secret| text.contains(secret.as_str()))
    };
    assert!(homes.iter().all(|home| holds(&fs::read(home).unwrap())), "the search finds nothing where a secret is");
    for place in others {
        assert!(!holds(&fs::read(&place).unwrap()), "{} holds a secret", place.display());
    }
    assert!(!shown.iter().any(|arguments| holds(arguments)), "a process shows a secret in its arguments");
}
