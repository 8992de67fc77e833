//! `osler man`: the manual pages of `osler` and of each of its commands. They follow from the commands themselves.

use super::{Cli, Context};
use crate::failure::{Outcome, failed};
use crate::show;
use crate::terminal::Page;
use clap::CommandFactory;
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A folder, made if it is not there: with DIR = SOMEWHERE/man1 `man -M SOMEWHERE osler-up` shows a page.
    dir: PathBuf,
}

#[derive(Serialize)]
pub(super) struct Manual {
    dir: PathBuf,
    pages: Vec<String>,
}

pub fn run(args: &Args, cx: &Context) -> Outcome {
    let manual = write(&args.dir)?;
    cx.terminal().answer("manual", &manual, || {
        Page::from(format!("{}: {}", manual.dir.display(), show::plural(manual.pages.len() as u64, "manual page")))
    })
}

pub(super) fn write(dir: &Path) -> Outcome<Manual> {
    let io = |e: std::io::Error| failed(format!("write manual pages into {}: {e}", dir.display()));
    std::fs::create_dir_all(dir).map_err(io)?;
    clap_mangen::generate_to(Cli::command(), dir).map_err(io)?;
    let mut pages = vec![];
    for entry in std::fs::read_dir(dir).map_err(io)? {
        pages.push(entry.map_err(io)?.file_name().to_string_lossy().into_owned());
    }
    pages.retain(|name| name.starts_with("osler") && name.ends_with(".1"));
    pages.sort();
    Ok(Manual { dir: dir.to_owned(), pages })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_its_page() {
        let folder = tempfile::tempdir().unwrap();
        let manual = write(&folder.path().join("man1")).unwrap();
        for command in Cli::command().get_subcommands() {
            let page = format!("osler-{}.1", command.get_name());
            assert!(manual.pages.contains(&page), "{page}: {:?}", manual.pages);
        }
        assert!(manual.pages.contains(&"osler-node-drain.1".to_owned()));
        let page = std::fs::read_to_string(folder.path().join("man1/osler-up.1")).unwrap();
        assert!(page.contains(".TH") && page.contains("slots"), "{page}");
    }
}
