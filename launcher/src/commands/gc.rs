//! `osler gc`: what the attempts of a store's runs left behind that no record needs. A coordinator deletes that by itself while its runs go
//! on; this shows it, and deletes it where none runs.

use super::Context;
use crate::failure::Outcome;
use crate::show;
use crate::stored;
use crate::terminal::{Page, Table, number, prose};
use osler_core::leftover::Claims;
use osler_core::paths;
use osler_runtime::store::Store;
use serde::Serialize;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Delete what is listed.
    #[arg(long)]
    delete: bool,
}

/// What nobody needs.
#[derive(Serialize)]
pub(super) struct Leftovers {
    pub deleted: bool,
    pub objects: Vec<Leftover>,
    /// Runs whose records cannot be read: nothing of them is touched.
    pub unreadable: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct Leftover {
    pub path: String,
    pub bytes: u64,
    pub why: &'static str,
}

pub async fn run(args: &Args, cx: &Context) -> Outcome {
    let store = cx.access.open_store()?;
    let mut found = Leftovers { deleted: args.delete, objects: vec![], unreadable: vec![] };
    for run in stored::names(&store).await? {
        // Only the newest version counts: an older one may not know what a running attempt has been given.
        match stored::newest_record(&store, &run).await {
            Ok(Some(record)) => of_run(&store, &Claims::of(&record), &mut found.objects).await?,
            Ok(None) => {}
            Err(_) => found.unreadable.push(run.to_string()),
        }
    }
    if args.delete {
        for leftover in &found.objects {
            store.sweep(&leftover.path).await?;
        }
    }
    cx.terminal().answer("leftovers", &found, || page(&found))
}

async fn of_run(store: &Store, claims: &Claims, found: &mut Vec<Leftover>) -> Outcome {
    for prefix in [paths::jobs(claims.run()), paths::manifests(claims.run())] {
        for path in store.list_all(&prefix).await?.into_iter().filter(|path| claims.leaves(path)) {
            let bytes = size(store, &path).await?;
            let why = why(&path);
            found.push(Leftover { path, bytes, why });
        }
    }
    Ok(())
}

async fn size(store: &Store, path: &str) -> Outcome<u64> {
    match store.local_root() {
        // A temporary has no object's name.
        Some(root) => Ok(std::fs::metadata(root.join(path)).map_or(0, |file| file.len())),
        None => Ok(store.size(path).await?.unwrap_or(0)),
    }
}

fn why(path: &str) -> &'static str {
    match path.rsplit('/').next().unwrap_or_default() {
        name if name.contains('#') || name.contains(".partial-") => "a write that was cut off",
        name if name.starts_with("step-") => "a manifest that was never published",
        name if name.starts_with("rank-") => "a part of no checkpoint that is kept",
        _ => "an output of an attempt that did not count",
    }
}

pub(super) fn page(found: &Leftovers) -> Page {
    let mut page = Page::new();
    let total = found.objects.iter().map(|leftover| leftover.bytes).sum();
    let (count, bytes) = (show::plural(found.objects.len() as u64, "object"), show::bytes(total));
    match (found.objects.is_empty(), found.deleted) {
        (true, _) => page.line("nothing is left over"),
        (false, true) => page.line(format!("deleted {count}, {bytes}")),
        (false, false) => page.line(format!("{count}, {bytes}, are nobody's: `osler gc --delete` deletes them")),
    };
    if !found.objects.is_empty() {
        let mut table = Table::new([prose("object", 0), number("size", 0), prose("why", 1)]);
        for leftover in &found.objects {
            table.row([leftover.path.as_str().into(), show::bytes(leftover.bytes).into(), leftover.why.into()]);
        }
        page.section(table);
    }
    for run in &found.unreadable {
        page.line(format!("run {run} cannot be read, so nothing of it is touched"));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::View;

    #[test]
    fn what_is_found_is_shown_before_it_is_deleted() {
        let object = |path: &str| Leftover { path: path.to_owned(), bytes: 2048, why: why(path) };
        let objects = vec![object("runs/r/jobs/train/s/g1/step-00000004/rank-00000.safetensors"), object("runs/r/jobs/tokenizer/g1/x#1")];
        let mut found = Leftovers { deleted: false, objects, unreadable: vec!["q".into()] };
        let shown = page(&found).render(View::PLAIN);
        assert!(shown.contains("2 objects, ") && shown.contains("osler gc --delete"), "{shown}");
        assert!(shown.contains("a part of no checkpoint that is kept") && shown.contains("a write that was cut off"), "{shown}");
        assert!(shown.contains("run q cannot be read"), "{shown}");
        found.objects.clear();
        assert!(page(&found).render(View::PLAIN).starts_with("nothing is left over\n"));
    }
}
