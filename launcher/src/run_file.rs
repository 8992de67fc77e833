//! A run file from disk with its overrides: the arguments that several commands take, and the reading.

use crate::failure::{Outcome, usage};
use crate::preflight;
use crate::resolve::{Resolved, keep_context, resolve};
use clap::Args;
use osler_core::spec::{Override, RunSpec, names_context, parse_tier};
use std::path::{Path, PathBuf};

/// Far more than any run file has.
const MAX_BYTES: u64 = 16 << 20;

#[derive(Debug, Clone, Args)]
pub struct RunFile {
    /// The run file.
    #[arg(value_name = "RUN.toml")]
    pub path: PathBuf,
    /// Replaces one value: --set model.dim=512, --set stage.domain.steps=100. May be repeated.
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    set: Vec<String>,
    /// Applies one of the file's [tier.NAME] tables, before --set: --tier smoke runs the shipped files in minutes.
    #[arg(long, value_name = "NAME")]
    tier: Option<String>,
}

impl RunFile {
    /// Reads and checks it, without looking at the files that it names.
    pub fn read(&self) -> Outcome<RunSpec> {
        self.read_and_see().map(|(spec, _)| spec)
    }

    /// With whether it says how long the model's context is.
    fn read_and_see(&self) -> Outcome<(RunSpec, bool)> {
        let shown = self.path.display().to_string();
        let text = text(&self.path).map_err(|why| usage(format!("{shown}: {why}")))?;
        let mut overrides: Vec<Override> = vec![];
        let mut bad = vec![];
        for set in &self.set {
            match set.parse() {
                Ok(change) => overrides.push(change),
                Err(problem) => bad.push(problem.to_string()),
            }
        }
        match parse_tier(&text, &shown, self.tier.as_deref(), &overrides) {
            Ok(spec) if bad.is_empty() => Ok((spec, names_context(&text, self.tier.as_deref(), &overrides))),
            Ok(_) => Err(usage(bad.join("\n"))),
            Err(problems) => Err(usage(bad.into_iter().chain(problems.iter().map(ToString::to_string)).collect::<Vec<_>>().join("\n"))),
        }
    }

    /// With globs expanded, paths made absolute and every file looked at as far as its job will first look. Problems are in the result.
    pub fn resolve(&self) -> Outcome<Resolved> {
        let (spec, names_context) = self.read_and_see()?;
        let mut resolved = resolve(spec, &self.path);
        if !names_context {
            keep_context(&mut resolved.spec);
        }
        preflight::look(&mut resolved, &self.path);
        Ok(resolved)
    }

    /// As [`Self::resolve`], for those who need a spec that can be submitted.
    pub fn resolve_all(&self) -> Outcome<Resolved> {
        let resolved = self.resolve()?;
        if resolved.problems.is_empty() { Ok(resolved) } else { Err(usage(resolved.problems.join("\n"))) }
    }
}

fn text(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|e| format!("cannot be read: {e}"))?.len();
    if size > MAX_BYTES {
        return Err(format!("{size} bytes are too many for a run file: is this the right file?"));
    }
    let bytes = std::fs::read(path).map_err(|e| format!("cannot be read: {e}"))?;
    String::from_utf8(bytes).map_err(|e| format!("byte {} is not UTF-8: save the file as UTF-8 text", e.utf8_error().valid_up_to()))
}
