//! Rules of the repository that no compiler checks.

use std::fs;
use std::path::{Path, PathBuf};

fn rust_files() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                walk(&path, found);
            } else if name.ends_with(".rs") {
                found.push(path);
            }
        }
    }
    let mut found = vec![];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for part in ["proto", "coordinator", "worker", "launcher", "crates", "tests"] {
        walk(&root.join(part), &mut found);
    }
    assert!(found.len() > 100, "only {} files found: the check is broken", found.len());
    found
}

fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(i, l)| (i + 1, l)).filter(|(_, l)| !l.trim_start().starts_with("//"))
}

#[test]
fn raw_memory_is_touched_in_torch_dist_only_and_every_other_crate_forbids_it() {
    let word = ["un", "safe"].concat();
    for path in rust_files().iter().filter(|p| !p.to_string_lossy().contains("crates/torch-dist/")) {
        let text = fs::read_to_string(path).unwrap();
        for (line, code) in code_lines(&text) {
            let used = code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == word);
            assert!(!used, "{}:{line}: {word} code belongs in crates/torch-dist", path.display());
        }
        let root = path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
        assert!(!root || text.contains(&format!("forbid({word}_code)")), "{}: lacks the attribute that forbids it", path.display());
    }
}

#[test]
fn every_file_says_what_it_is_for_and_stays_small() {
    for path in rust_files() {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//!"), "{}: begin with a module doc", path.display());
        let lines = text.lines().count();
        assert!(lines <= 600, "{}: {lines} lines; split it where it holds two ideas", path.display());
    }
}

#[test]
fn nothing_is_left_open() {
    let marks = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["unimpl", "emented!"].concat()];
    for path in rust_files() {
        let text = fs::read_to_string(&path).unwrap();
        for mark in &marks {
            assert!(!text.contains(mark.as_str()), "{}: {mark}: do it, or give it an issue", path.display());
        }
    }
}
