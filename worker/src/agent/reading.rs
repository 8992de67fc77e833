//! Which files of this machine jobs may read beside their store's: whoever may submit a run names paths, and a job reads them with the
//! rights of the agent's user. So the agent's owner says which folders are meant, and looks at each path before a job starts.
//!
//! A path is absolute and leads, links worked out, to a regular file in one of the folders: a pipe or a device would keep its reader for
//! ever. What is not there is left to the job, which says so.

use osler_core::process::Assignment;
use osler_core::spec::Outside;
use osler_model::tokenizer_files;
use osler_runtime::files::what;
use std::fs;
use std::path::{Path, PathBuf};

/// Of a model's folder, so many entries are looked at.
const MAX_ENTRIES: usize = 10_000;
/// Beside a tokenizer, read where it is and not copied.
const CONFIG: &str = "config.json";

#[derive(Debug, Clone, Default)]
pub struct Reading {
    folders: Vec<PathBuf>,
}

impl Reading {
    /// Folders that must be there: one that was mistyped would be found out by the first run.
    pub fn new(folders: &[PathBuf]) -> Result<Self, String> {
        let settled = |folder: &PathBuf| match folder.canonicalize() {
            Ok(path) if path.is_dir() => Ok(path),
            Ok(_) => Err(format!("--may-read {}: not a folder: name the folder that the file is in", folder.display())),
            Err(e) => Err(format!("--may-read {}: {e}: name a folder of this machine", folder.display())),
        };
        Ok(Self { folders: folders.iter().map(settled).collect::<Result<_, _>>()? })
    }

    /// Whether the job may read all that it will, or why not.
    pub fn may(&self, assignment: &Assignment) -> Result<(), String> {
        assignment.spec.outside(&assignment.kind).into_iter().try_for_each(|path| match path {
            Outside::File(path) => self.file(absolute(path)?),
            Outside::Tokenizer(path) => {
                let path = absolute(path)?;
                let folder = path.parent().unwrap_or(path);
                self.file(path)?;
                let beside = tokenizer_files(folder).map_err(|e| e.to_string())?;
                beside.iter().map(String::as_str).chain([CONFIG]).try_for_each(|name| self.file(&folder.join(name)))
            }
            Outside::Folder(path) => self.folder(absolute(path)?),
        })
    }

    fn file(&self, path: &Path) -> Result<(), String> {
        let Ok(real) = path.canonicalize() else { return Ok(()) };
        self.inside(path, &real)?;
        let Ok(about) = fs::metadata(&real) else { return Ok(()) };
        if about.is_file() { Ok(()) } else { Err(format!("{} is {}: name regular files", path.display(), what(about.file_type()))) }
    }

    fn folder(&self, path: &Path) -> Result<(), String> {
        let Ok(real) = path.canonicalize() else { return Ok(()) };
        self.inside(path, &real)?;
        let mut left = MAX_ENTRIES;
        for entry in fs::read_dir(&real).into_iter().flatten().flatten() {
            left = left.checked_sub(1).ok_or_else(|| format!("{} has more than {MAX_ENTRIES} entries: no model has", path.display()))?;
            let below = path.join(entry.file_name());
            // What is in folders of it is not read.
            if !below.is_dir() {
                self.file(&below)?;
            }
        }
        Ok(())
    }

    fn inside(&self, path: &Path, real: &Path) -> Result<(), String> {
        if self.folders.iter().any(|folder| real.starts_with(folder)) {
            return Ok(());
        }
        let led = if real == path { String::new() } else { format!(" (it leads to {})", real.display()) };
        let folders: Vec<String> = self.folders.iter().map(|folder| folder.display().to_string()).collect();
        let may = if folders.is_empty() { "no folder".to_owned() } else { folders.join(", ") };
        Err(format!(
            "{}{led} may not be read by runs here: this agent was started for {may}; whoever looks after it adds --may-read DIR if that is \
             meant",
            path.display()
        ))
    }
}

fn absolute(path: &str) -> Result<&Path, String> {
    let path = Path::new(path);
    if path.is_absolute() { Ok(path) } else { Err(format!("{}: source files are named by absolute paths", path.display())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    #[test]
    fn only_regular_files_below_the_named_folders_are_read_wherever_links_lead() {
        let world = tempfile::tempdir().unwrap();
        let at = |name: &str| world.path().join(name);
        for folder in ["data", "data/model", "data/model/blobs", "home", "data-other"] {
            fs::create_dir(at(folder)).unwrap();
        }
        for file in ["data/a.jsonl", "home/key", "data-other/b", "data/model/blobs/x"] {
            fs::write(at(file), "x").unwrap();
        }
        symlink(at("home/key"), at("data/link")).unwrap();
        symlink(at("data/a.jsonl"), at("home/back")).unwrap();
        mkfifo(&at("data/pipe"), Mode::S_IRWXU).unwrap();
        let _listens = UnixListener::bind(at("data/socket")).unwrap();
        symlink("/dev/zero", at("data/zero")).unwrap();
        let reading = Reading::new(&[at("data")]).unwrap();
        let everything = Reading::new(&["/".into()]).unwrap();
        for ok in ["data/a.jsonl", "data/model/../a.jsonl", "home/back", "data/not-there"] {
            assert_eq!(reading.file(&at(ok)), Ok(()), "{ok}");
        }
        for outside in ["data/link", "data/../home/key", "data-other/b", "home"] {
            let refused = reading.file(&at(outside)).unwrap_err();
            assert!(refused.contains("--may-read DIR") && refused.contains(outside), "{refused}");
            assert!(Reading::default().file(&at(outside)).unwrap_err().contains("for no folder"));
        }
        for (name, kind) in [("data/pipe", "a named pipe"), ("data/socket", "a socket"), ("data/zero", "a device"), ("data", "a folder")] {
            let refused = everything.file(&at(name)).unwrap_err();
            assert!(refused.contains(kind) && refused.contains(name), "{refused}");
        }
        symlink("blobs/x", at("data/model/config.json")).unwrap();
        assert_eq!(reading.folder(&at("data/model")), Ok(()));
        symlink(at("home/key"), at("data/model/generation_config.json")).unwrap();
        assert!(reading.folder(&at("data/model")).unwrap_err().contains("generation_config.json"));
        assert!(absolute("data/a.jsonl").is_err());
        assert!(Reading::new(&[at("data/a.jsonl")]).is_err() && Reading::new(&[at("nowhere")]).is_err());
    }
}
