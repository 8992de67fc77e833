//! Which life of its worker an agent is: later lives have higher numbers, also on a clock that was set back in between.
//!
//! The number is the clock's, or one more than the life before, whichever is greater. Without the second half, a call of the life before
//! that was still on its way would make the coordinator believe that *this* one is over, and place its work anew beside it.

use osler_core::ids::{Incarnation, Millis, WorkerName};
use osler_runtime::files;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum LifeError {
    #[error("{}: {source}; give --state DIR, a folder that stays over restarts and can be written", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: {found:?} is not a number: delete the file if this machine's clock is right", path.display())]
    Unreadable { path: PathBuf, found: String },
}

/// The life after `last`.
pub fn next(last: Option<Incarnation>, now: Millis) -> Incarnation {
    Incarnation(last.map_or(now.0, |last| now.0.max(last.0.saturating_add(1))))
}

/// Begins a life of `worker` and notes its number in `folder`, before anybody hears of it.
pub fn begin(folder: &Path, worker: &WorkerName, now: Millis) -> Result<Incarnation, LifeError> {
    let path = folder.join(format!("{worker}.life"));
    let io = |source| LifeError::Io { path: path.clone(), source };
    let last = match fs::read_to_string(&path) {
        Ok(text) => Some(
            text.trim()
                .parse()
                .map(Incarnation)
                .map_err(|_| LifeError::Unreadable { path: path.clone(), found: text.chars().take(40).collect() })?,
        ),
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        Err(e) => return Err(io(e)),
    };
    let life = next(last, now);
    fs::create_dir_all(folder).map_err(io)?;
    files::replace(&path, format!("{life}\n").as_bytes(), 0o644).map_err(io)?;
    Ok(life)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_life_has_a_higher_number_whatever_the_clock_says() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("not/there/yet");
        let worker = WorkerName::new("a").unwrap();
        let lives: Vec<u64> = [1_000, 2_000, 500, 2_001, 9_000].map(|now| begin(&folder, &worker, Millis(now)).unwrap().0).to_vec();
        assert_eq!(lives, [1_000, 2_000, 2_001, 2_002, 9_000]);
        assert_eq!(begin(&folder, &WorkerName::new("b").unwrap(), Millis(7)).unwrap().0, 7, "another worker's lives are its own");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "nothing else is left behind");
    }

    #[test]
    fn what_cannot_be_read_or_written_says_so_and_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let worker = WorkerName::new("a").unwrap();
        fs::write(folder.path().join("a.life"), "soon\n").unwrap();
        let error = begin(folder.path(), &worker, Millis(1)).unwrap_err().to_string();
        assert!(error.contains("a.life") && error.contains("\"soon\\n\"") && error.contains("delete the file"), "{error}");
        let error = begin(&folder.path().join("a.life"), &worker, Millis(1)).unwrap_err().to_string();
        assert!(error.contains("--state DIR"), "{error}");
    }
}
