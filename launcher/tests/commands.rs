//! The built `osler`, without daemons: exit codes, messages, and the shapes of documents.

// Helpers of tests, which clippy only knows inside of test functions.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn osler(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_osler"));
    for name in ["OSLER_STORE", "OSLER_COORDINATOR", "OSLER_TOKEN_FILE", "OSLER_TLS", "OSLER_BIN_DIR"] {
        command.env_remove(name);
    }
    for name in ["COLUMNS", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command.current_dir(folder).args(arguments).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}\n{}", stdout(output), stderr(output)))
}

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs")
}

/// A folder with the quickstart and a small world that it finds.
fn quickstart() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("configs")).unwrap();
    fs::copy(configs().join("quickstart.toml"), folder.path().join("configs/quickstart.toml")).unwrap();
    let made = osler(
        folder.path(),
        &["demo", "osler-demo", "--diseases", "10", "--abstracts", "80", "--general", "50", "--questions", "8", "-o", "json"],
    );
    assert_eq!(code(&made), 0, "{}", stderr(&made));
    assert!(json(&made)["written"].as_u64().unwrap() > 0);
    folder
}

#[test]
fn usage_errors_exit_with_64_and_help_with_0() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &[][..],
        &["no-such-command"],
        &["validate"],
        &["validate", "no-such-file.toml"],
        &["report", "Not A Name"],
        &["report", "r", "-o", "yaml"],
        &["ps"],
        &["ps", "--coordinator", "127.0.0.1:1"],
        &["status", "r", "--store", "nowhere"],
        &["exam", "nowhere", "--task", "medqa=x"],
        &["exam", ".", "--task", "medqa"],
        &["exam", ".", "--task", "sat=x"],
        &["quantize", ".", "--to", "int4", "out"],
        &["quantize", ".", "--to", "int8", "out"],
        &["corpus", "inspect"],
        &["corpus", "inspect", "nowhere.xml"],
        &["demo", "world", "--diseases", "1"],
    ] {
        let output = osler(folder.path(), arguments);
        assert_eq!(code(&output), 64, "{arguments:?}: {}", stderr(&output));
        assert!(!stderr(&output).is_empty(), "{arguments:?}");
    }
    for arguments in [&["--help"][..], &["--version"], &["up", "--help"], &["ckpt", "verify", "--help"]] {
        assert_eq!(code(&osler(folder.path(), arguments)), 0, "{arguments:?}");
    }
    assert!(!folder.path().join("osler-store").exists(), "looking made a store");
}

#[test]
fn validate_lists_every_problem_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(configs().join("quickstart.toml")).unwrap();
    fs::write(folder.path().join("bad.toml"), text.replace("heads = 6", "heads = 5\nlayerz = 2").replace("seed = 1", "seed = -1")).unwrap();
    let output = osler(folder.path(), &["validate", "bad.toml", "--set", "stage.general.steps=none", "--set", "nonsense"]);
    assert_eq!(code(&output), 64);
    let said = stderr(&output);
    for word in ["seed", "layerz", "did you mean \"layers\"?", "stage.general.steps", "--set nonsense"] {
        assert!(said.contains(word), "{word} is missing from\n{said}");
    }
    assert_eq!(stdout(&output), "");
}

#[test]
fn validate_accepts_the_shipped_files() {
    for name in ["quickstart", "pubmed-sample"] {
        let path = configs().join(format!("{name}.toml"));
        let output = osler(&configs(), &["validate", path.to_str().unwrap(), "-o", "json"]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert_eq!(json(&output)["run"], name);
    }
}

#[test]
fn files_are_looked_at_when_asked_for() {
    let folder = quickstart();
    let run = |arguments: &[&str]| osler(folder.path(), arguments);
    let output = run(&["validate", "configs/quickstart.toml", "--files", "-o", "json"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    // 1 + 4 source files, 2 corpora, the tokenizer, 2 packs, and for each of 2 stages: train, export, 2 methods, 3 exams x 3 variants.
    assert_eq!(json(&output)["jobs"], 5 + 2 + 1 + 2 + 2 * (1 + 1 + 2 + 9));
    fs::remove_dir_all(folder.path().join("osler-demo")).unwrap();
    let output = run(&["validate", "configs/quickstart.toml", "--files"]);
    assert_eq!(code(&output), 64);
    for field in ["corpus.domain.files", "corpus.general.files", "after_stage.exam.seen.files", "after_stage.exam.unseen.files"] {
        assert!(stderr(&output).contains(&format!("configs/quickstart.toml: {field}: ")), "{field} is missing from\n{}", stderr(&output));
    }
}

#[test]
fn a_plan_counts_and_says_what_would_fail() {
    let folder = quickstart();
    let run = |arguments: &[&str]| osler(folder.path(), arguments);
    let plan = run(&["plan", "configs/quickstart.toml", "--set", "stage.domain.steps=600", "-o", "json"]);
    let document = json(&plan);
    assert_eq!(document["jobs"]["clean"], 5);
    assert_eq!(document["estimate"]["stages"][1]["steps"], 600);
    assert_eq!(document["corpora"]["general"]["basis"], "file-sizes");
    assert!(document["estimate"]["parameters"]["total"].as_u64().unwrap() > 1_000_000);
    assert_eq!(document["exams"].as_array().unwrap().len(), 6);

    let table = run(&["plan", "configs/quickstart.toml"]);
    for word in ["parameters", "estimate", "domain", "checkpoints", "known only after packing"] {
        assert!(stdout(&table).contains(word), "{word} is missing from\n{}", stdout(&table));
    }
    // A model that no machine holds.
    let huge =
        run(&["plan", "configs/quickstart.toml", "--set", "model.dim=16384", "--set", "model.heads=128", "--set", "model.layers=200"]);
    assert_eq!(code(&huge), 1, "{}", stderr(&huge));
    assert!(stdout(&huge).contains("would fail:") && stdout(&huge).contains("memory:"), "{}", stdout(&huge));
    let missing = run(&["plan", "configs/quickstart.toml", "--set", "corpus.general.files=\"nowhere/*\"", "-o", "json"]);
    assert_eq!(code(&missing), 64);
    assert!(json(&missing)["would_fail"][0].as_str().unwrap().contains("corpus.general.files"));
    assert!(!folder.path().join("osler-store").exists(), "a plan made a store");
}

#[test]
fn inspect_shows_one_document_a_line() {
    let folder = quickstart();
    let run = |arguments: &[&str]| osler(folder.path(), arguments);
    let output = run(&["corpus", "inspect", "osler-demo/pubmed/demo26n0001.xml.gz", "-o", "jsonl"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let documents: Vec<serde_json::Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(documents.len() > 10);
    for key in ["pmid", "version", "title", "abstract_sections", "language", "dates", "publication_types", "retracted", "deleted"] {
        assert!(documents.iter().all(|d| d.get(key).is_some()), "{key}");
    }
    let table = run(&["corpus", "inspect", "osler-demo/pubmed/demo26n0001.xml.gz", "osler-demo/general/everyday.jsonl"]);
    assert_eq!((code(&table), stdout(&table).lines().count()), (0, 3), "{}", stdout(&table));

    fs::write(folder.path().join("broken.xml"), "<PubmedArticleSet><PubmedArticle></Wrong>").unwrap();
    let broken = run(&["corpus", "inspect", "broken.xml"]);
    assert_eq!(code(&broken), 64);
    assert!(stderr(&broken).contains("broken.xml") && stderr(&broken).contains("byte"), "{}", stderr(&broken));
    fs::write(folder.path().join("empty.jsonl"), "").unwrap();
    assert_eq!(code(&run(&["corpus", "inspect", "empty.jsonl"])), 64);
}

#[test]
fn the_demo_is_written_once_and_only_into_its_own_folder() {
    let folder = quickstart();
    let again = osler(
        folder.path(),
        &["demo", "osler-demo", "--diseases", "10", "--abstracts", "80", "--general", "50", "--questions", "8", "-o", "json"],
    );
    assert_eq!((code(&again), json(&again)["written"].as_u64()), (0, Some(0)));
    fs::write(folder.path().join("osler-demo/mine.txt"), "mine").unwrap();
    let foreign = osler(folder.path(), &["demo", "osler-demo"]);
    assert_eq!(code(&foreign), 64, "{}", stderr(&foreign));
}

#[test]
fn an_empty_store_has_no_runs() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("osler-store")).unwrap();
    let run = |arguments: &[&str]| osler(folder.path(), arguments);
    let list = run(&["ps", "-o", "json"]);
    assert_eq!(
        (code(&list), json(&list)),
        (0, serde_json::json!({ "schema": "osler/v1 runs", "alarm": null, "coordinator": false, "runs": [], "workers": [] }))
    );
    for command in [
        &["status", "r"][..],
        &["describe", "r"],
        &["report", "r"],
        &["audit", "r"],
        &["events", "r"],
        &["logs", "r"],
        &["stop", "r"],
        &["resume", "r"],
        &["ckpt", "list", "r"],
    ] {
        let output = run(command);
        assert_eq!(code(&output), 64, "{command:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("no run is named \"r\""), "{command:?}: {}", stderr(&output));
    }
}

#[test]
fn what_needs_a_coordinator_says_so() {
    let folder = quickstart();
    let output = osler(folder.path(), &["submit", "configs/quickstart.toml"]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("osler up"), "{}", stderr(&output));
}

#[test]
fn a_missing_binary_is_named() {
    let folder = quickstart();
    let mut command = Command::new(env!("CARGO_BIN_EXE_osler"));
    let output = command
        .current_dir(folder.path())
        .env("OSLER_BIN_DIR", folder.path())
        .args(["up", "configs/quickstart.toml", "--store", "s"])
        .output()
        .unwrap();
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    assert!(stderr(&output).contains("osler-coordinator is not there"), "{}", stderr(&output));
}

#[test]
fn a_coordinator_that_does_not_start_is_quoted() {
    use std::os::unix::fs::PermissionsExt;
    let folder = quickstart();
    for name in ["osler-coordinator", "osler-worker", "osler-rank"] {
        let path = folder.path().join(name);
        fs::write(&path, "#!/bin/sh\necho the disk is on fire >&2\nexit 3\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_osler"));
    let output = command
        .current_dir(folder.path())
        .env("OSLER_BIN_DIR", folder.path())
        .args(["up", "configs/quickstart.toml", "--store", "s"])
        .output()
        .unwrap();
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    for word in ["exited with code 3", "the disk is on fire", "coordinator.log"] {
        assert!(stderr(&output).contains(word), "{word} is missing from\n{}", stderr(&output));
    }
}

#[test]
fn a_cluster_is_made_shown_and_rotated_and_never_made_twice() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| osler(folder.path(), arguments);
    let made = run(&["cluster", "init", "c", "--host", "coordinator.example", "--host", "10.0.0.7"]);
    assert_eq!(code(&made), 0, "{}", stderr(&made));
    for word in ["c/coordinator", "c/agent", "c/admin", "coordinator.example 10.0.0.7"] {
        assert!(stdout(&made).contains(word), "{word}: {}", stdout(&made));
    }
    let read = |name: &str| fs::read_to_string(folder.path().join("c").join(name)).unwrap();
    for secret in ["ca-key.pem", "agent/token", "admin/token", "agent/key.pem"].map(read) {
        assert!(!stdout(&made).contains(secret.trim()), "a secret is printed");
    }
    let (ca, before) = (read("ca.pem"), read("coordinator/cert.pem"));
    assert_eq!(code(&run(&["cluster", "init", "c", "--host", "x"])), 64);
    let shown = run(&["cluster", "certs", "c"]);
    assert_eq!((code(&shown), stderr(&shown).as_str()), (0, ""), "a new certificate needs no warning");
    assert_eq!(code(&run(&["cluster", "rotate", "c"])), 0);
    assert_eq!((read("ca.pem") == ca, read("coordinator/cert.pem") == before), (true, false));
    let other = run(&["cluster", "rotate", "c", "--host", "b.example"]);
    assert_eq!(
        (code(&other), stdout(&other).contains("b.example"), stdout(&other).contains("agents'")),
        (0, true, false),
        "{}",
        stdout(&other)
    );
    assert_eq!(code(&run(&["cluster", "rotate", "c", "--host", "not a host"])), 64);
    assert_eq!(code(&run(&["cluster", "init", "d", "--host", "not a host"])), 64);
    assert_eq!(code(&run(&["cluster", "init", "d"])), 64);
    assert!(!folder.path().join("d").exists());
}

#[test]
fn a_token_goes_nowhere_unencrypted_and_callers_are_told_what_they_lack() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| osler(folder.path(), arguments);
    assert_eq!(code(&run(&["cluster", "init", "c", "--host", "127.0.0.1"])), 0);
    let far = run(&["token", "list", "--coordinator", "192.0.2.1:7", "--token-file", "c/admin/token"]);
    assert_eq!((code(&far), stderr(&far).contains("nothing to know the coordinator by")), (1, true), "{}", stderr(&far));
    let several = run(&["ps", "--coordinator", "127.0.0.1:1,127.0.0.1:2", "--tls", "c/admin"]);
    let words = stderr(&several);
    assert_eq!((code(&several), words.contains("at 127.0.0.1:1: ") && words.contains("at 127.0.0.1:2: ")), (1, true), "{words}");
    let nobody = run(&["ps", "--coordinator", "127.0.0.1:7"]);
    assert_eq!((code(&nobody), stderr(&nobody).contains("--token-file")), (64, true), "{}", stderr(&nobody));
    let lost = run(&["ps", "--coordinator", "127.0.0.1:1", "--tls", "nowhere"]);
    assert_eq!((code(&lost), stderr(&lost).contains("osler cluster init")), (64, true), "{}", stderr(&lost));
    assert_eq!(code(&run(&["token", "create", "--role", "king", "--name", "a"])), 64);
    let late =
        run(&["token", "create", "--role", "viewer", "--name", "a", "--out", "t", "--coordinator", "127.0.0.1:1", "--tls", "c/admin"]);
    assert_eq!((code(&late), folder.path().join("t").exists()), (1, false), "{}", stderr(&late));
}

#[test]
fn an_error_is_a_document_on_standard_error_when_documents_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("osler-store")).unwrap();
    fs::write(folder.path().join("bad.toml"), "name = 7\nlayerz = 2\n").unwrap();
    for (arguments, exit_code, kind, word) in [
        (&["report", "r", "-o", "json"][..], 64, "usage", "no run is named"),
        (&["node", "list", "--json"], 1, "failed", "no coordinator is running"),
        (&["validate", "bad.toml", "--json"], 64, "usage", "layerz"),
        (&["no-such-command", "-o", "json"], 64, "usage", "no-such-command"),
        (&["ps", "--output=json", "--nonsense"], 64, "usage", "--nonsense"),
        (&["exam", "nowhere", "--task", "medqa=x", "--json"], 64, "usage", "nowhere"),
        (&["quantize", ".", "--to", "int8", "out", "--json"], 64, "usage", "config.json"),
        (&["up", "bad.toml", "--json"], 64, "usage", "layerz"),
        (&["corpus", "inspect", "nowhere", "--json"], 64, "usage", "nowhere"),
    ] {
        let output = osler(folder.path(), arguments);
        assert_eq!((code(&output), stdout(&output).as_str()), (exit_code, ""), "{arguments:?}");
        let said = stderr(&output);
        let document: serde_json::Value = serde_json::from_str(said.trim_end()).unwrap_or_else(|e| panic!("{e}: {said}"));
        assert_eq!((said.lines().count(), document["schema"].as_str()), (1, Some("osler/v1 error")), "{said}");
        assert_eq!((&document["error"]["kind"], &document["error"]["exit_code"]), (&kind.into(), &exit_code.into()), "{said}");
        assert!(document["error"]["message"].as_str().unwrap().contains(word), "{said}");
    }
}

#[test]
fn programs_get_documents_of_what_has_no_daemon() {
    let folder = quickstart();
    for (arguments, schema) in [
        (&["validate", "configs/quickstart.toml"][..], "validation"),
        (&["plan", "configs/quickstart.toml"], "plan"),
        (&["cluster", "init", "c", "--host", "h"], "certificates"),
        (&["cluster", "certs", "c"], "certificates"),
        (&["cluster", "rotate", "c"], "certificates"),
        (&["corpus", "inspect", "osler-demo/general/everyday.jsonl"], "sources"),
        (&["completion", "bash"], "completion"),
        (&["man", "man1"], "manual"),
    ] {
        let output = osler(folder.path(), &[arguments, &["-o", "json"]].concat());
        assert_eq!(code(&output), 0, "{arguments:?}: {}", stderr(&output));
        assert_eq!(json(&output)["schema"], format!("osler/v1 {schema}"), "{arguments:?}");
    }
    let lines = osler(folder.path(), &["corpus", "inspect", "osler-demo/general/everyday.jsonl", "-o", "jsonl"]);
    assert!(stdout(&lines).lines().all(|line| line.starts_with(r#"{"schema":"osler/v1 document","id":"#)), "{}", stdout(&lines));
}

#[test]
fn a_pipe_gets_whole_lines_without_colour_unless_it_is_asked_for() {
    let folder = quickstart();
    let run = |arguments: &[&str]| stdout(&osler(folder.path(), &[&["plan", "configs/quickstart.toml"], arguments].concat()));
    let whole = run(&[]);
    assert!(whole.lines().any(|line| line.chars().count() > 100) && !whole.contains('\u{1b}'), "{whole}");
    assert!(run(&["--color", "always"]).contains("\u{1b}[1mSTAGE"));
}

/// `osler` on a terminal of 80 columns, as a person has it; None: there is no `script` here.
fn on_a_terminal(folder: &Path, line: &str) -> Option<String> {
    let line = format!("stty cols 80 rows 24; exec {} {line}", env!("CARGO_BIN_EXE_osler"));
    let mut command = Command::new("script");
    for name in ["COLUMNS", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "OSLER_STORE"] {
        command.env_remove(name);
    }
    let output =
        command.current_dir(folder).env("TERM", "xterm").env("SHELL", "/bin/sh").args(["-qec", &line, "/dev/null"]).output().ok()?;
    Some(stdout(&output).replace('\r', ""))
}

#[test]
fn a_terminal_of_eighty_columns_gets_lines_that_fit_and_colour() {
    let folder = quickstart();
    let Some(shown) = on_a_terminal(folder.path(), "plan configs/quickstart.toml") else {
        println!("SKIPPED: a_terminal_of_eighty_columns: no script");
        return;
    };
    assert!(shown.contains("\u{1b}[1m") && shown.contains("parameters"), "{shown}");
    let plain: String =
        shown.split("\u{1b}[").enumerate().map(|(i, part)| if i == 0 { part } else { part.split_once('m').unwrap().1 }).collect();
    for line in plain.lines() {
        assert!(line.chars().count() <= 80, "{line:?}");
    }
    let without = on_a_terminal(folder.path(), "plan configs/quickstart.toml --color never").unwrap();
    assert_eq!(without, plain);
    let help = on_a_terminal(folder.path(), "up --help").unwrap();
    let text: String =
        help.split("\u{1b}[").enumerate().map(|(i, part)| if i == 0 { part } else { part.split_once('m').unwrap().1 }).collect();
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}
