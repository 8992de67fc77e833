//! Every path of a run file is checked before anything starts, and all problems are told at once.

use super::*;
use osler_core::spec::parse;
use std::fs;

const RUN_FILE: &str = r#"
name = "r"
seed = 1
[corpus.c]
format = "text"
files = FILES
[tokenizer]
train = { vocab_size = 300 }
[model]
family = "llama"
dim = 8
layers = 1
heads = 1
[[stage]]
name = "s"
from = FROM
corpus = "c"
steps = 1
sequence_length = 8
global_batch = 1
optimizer = { lr = 1e-3 }
schedule = { kind = "constant", warmup_steps = 0 }
"#;

/// `world`: paths to make (folders end in `/`); gives the resolved run and the folder.
fn resolved(world: &[&str], files: &str, from: &str) -> (Resolved, PathBuf, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    for path in world {
        let path_in = root.join(path);
        fs::create_dir_all(if path.ends_with('/') { &path_in } else { path_in.parent().unwrap() }).unwrap();
        if !path.ends_with('/') {
            fs::write(path_in, "text").unwrap();
        }
    }
    let text = RUN_FILE.replace("FILES", files).replace("FROM", from);
    let spec = parse(&text, "run.toml", &[]).unwrap_or_else(|problems| panic!("{problems}"));
    fs::create_dir_all(root.join("configs")).unwrap();
    (resolve(spec, &root.join("configs/run.toml")), root, folder)
}

fn names(resolved: &Resolved, root: &Path) -> Vec<String> {
    let files = &resolved.spec.corpora.values().next().unwrap().files;
    files.iter().map(|file| file.strip_prefix(root.to_str().unwrap()).unwrap().to_owned()).collect()
}

#[test]
fn globs_become_absolute_files_in_the_order_of_their_names() {
    let world = ["data/b.txt", "data/a.txt", "data/c.md", "data/.hidden.txt", "data/sub.txt/", "more/x1", "more/x[1]"];
    for (files, expected) in [
        (r#""../data/*.txt""#, vec!["/data/a.txt", "/data/b.txt"]),
        (r#"["../data/b.txt", "../data/*.txt"]"#, vec!["/data/b.txt", "/data/a.txt"]),
        (r#""../data/?.md""#, vec!["/data/c.md"]),
        // A file of that name is there: it is meant, not the glob.
        (r#""../more/x[1]""#, vec!["/more/x[1]"]),
        (r#""../data/../data/./a.txt""#, vec!["/data/a.txt"]),
    ] {
        let (resolved, root, _folder) = resolved(&world, files, "\"scratch\"");
        assert_eq!(resolved.problems, [] as [String; 0], "{files}");
        assert_eq!(names(&resolved, &root), expected, "{files}");
    }
}

#[test]
fn every_missing_thing_is_named_with_its_field() {
    let no_model = r#""hf:../model""#;
    for (world, files, from, problems) in [
        (&["data/"][..], r#""../data/*.txt""#, "\"scratch\"", vec!["corpus.c.files: \"../data/*.txt\" matches no file"]),
        (&[][..], r#""../no.txt""#, "\"scratch\"", vec!["corpus.c.files: "]),
        (&["data/"][..], r#""../data""#, "\"scratch\"", vec!["not a file"]),
        (&["d/a"][..], r#""../d/[a""#, "\"scratch\"", vec!["not a usable glob"]),
        (&["d/a"][..], r#""../d/a""#, no_model, vec!["stage.s.from: "]),
        (&["d/a", "model/"][..], r#""../d/a""#, no_model, vec!["config.json is missing", "neither model.safetensors nor"]),
        (&["d/a", "model/config.json", "model/pytorch_model.bin"][..], r#""../d/a""#, no_model, vec!["neither model.safetensors nor"]),
        (&["d/a", "model/config.json", "model/model.safetensors"][..], r#""../d/a""#, no_model, vec![]),
        (
            &["model/config.json"][..],
            r#"["../x", "../y"]"#,
            no_model,
            vec!["/x: no such file", "/y: no such file", "neither model.safetensors"],
        ),
    ] {
        let (resolved, _root, _folder) = resolved(world, files, from);
        assert_eq!(resolved.problems.len(), problems.len(), "{files} {from}: {:?}", resolved.problems);
        for (found, expected) in resolved.problems.iter().zip(problems) {
            assert!(found.contains("run.toml: ") && found.contains(expected), "{found:?} does not say {expected:?}");
        }
    }
}

#[test]
fn a_folder_whose_name_looks_like_a_glob_is_only_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().canonicalize().unwrap().join("run [1]");
    fs::create_dir_all(&odd).unwrap();
    fs::write(odd.join("a.txt"), "text").unwrap();
    let spec = parse(&RUN_FILE.replace("FILES", "\"*.txt\"").replace("FROM", "\"scratch\""), "run.toml", &[]).unwrap();
    let resolved = resolve(spec, &odd.join("run.toml"));
    assert_eq!(resolved.problems, [] as [String; 0]);
    assert_eq!(names(&resolved, &odd), ["/a.txt"]);
}

#[test]
fn a_continued_model_keeps_its_folders_context_where_the_run_file_names_none() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("model")).unwrap();
    let from = format!("\"hf:{}\"", folder.path().join("model").display());
    let text = RUN_FILE.replace("FILES", "\"x\"").replace("FROM", &from);
    let kept = |config: Option<&str>| {
        let path = folder.path().join("model/config.json");
        config.map_or_else(|| drop(fs::remove_file(&path)), |config| fs::write(&path, config).unwrap());
        let mut spec = parse(&text, "run.toml", &[]).unwrap();
        keep_context(&mut spec);
        spec.model.max_positions
    };
    assert_eq!(kept(Some(r#"{ "max_position_embeddings": 2048 }"#)), 2048);
    assert_eq!(kept(Some(r#"{ "n_positions": 1024 }"#)), 1024);
    // Shorter than the sequences, or not there to read: whoever compares the two says so.
    assert_eq!((kept(Some(r#"{ "max_position_embeddings": 4 }"#)), kept(Some("{")), kept(None)), (8, 8, 8));
    let named = |text: &str, overrides: &[&str]| {
        let overrides: Vec<_> = overrides.iter().map(|change| change.parse().unwrap()).collect();
        osler_core::spec::names_context(text, None, &overrides)
    };
    assert!(!named(&text, &[]) && named(&text, &["model.max_positions=16"]));
    assert!(named(&text.replace("heads = 1", "heads = 1\nmax_positions = 16"), &[]));
}
