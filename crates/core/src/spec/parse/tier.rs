//! `[tier.NAME]`: named sets of overrides in the run file, for the same experiment at another scale.
//!
//! Each key is a path in quotes as `--set` takes it, each value replaces what the file has there. A tier is applied when it is asked for,
//! before `--set`; otherwise it is only looked at, and the run is what it would be without it.

use super::Override;
use crate::spec::reader::{Node, Origin, Report, Value, join, quoted, suggest};
use std::collections::BTreeMap;

/// Takes the tiers out of the document and applies the one that is asked for.
pub(super) fn apply(document: &mut Node, asked: Option<&str>, report: &Report) {
    let tiers = take(document, report);
    let Some(asked) = asked else { return };
    match tiers.get(asked) {
        Some(changes) => changes.iter().for_each(|change| change.apply(document, report)),
        None if tiers.is_empty() => {
            report.problem_at(Origin::File, "", format!("no tier {}: the file has no [tier.…] table; leave --tier out", quoted(asked)));
        }
        None => {
            let known = tiers.keys().map(String::as_str);
            report.problem_at(Origin::File, "", format!("no tier {}; {}", quoted(asked), suggest(asked, known)));
        }
    }
}

fn take(document: &mut Node, report: &Report) -> BTreeMap<String, Vec<Override>> {
    let Value::Table(root) = &mut document.value else { return BTreeMap::new() };
    let Some(node) = root.remove("tier") else { return BTreeMap::new() };
    let described = node.describe();
    let Value::Table(tiers) = node.value else {
        report.problem_at(node.origin, "tier", format!("found {described}, expected one table [tier.NAME] for each"));
        return BTreeMap::new();
    };
    tiers.into_iter().map(|(name, node)| (name.clone(), read(&name, node, report))).collect()
}

fn read(name: &str, node: Node, report: &Report) -> Vec<Override> {
    let place = join("tier", name);
    let described = node.describe();
    let Value::Table(entries) = node.value else {
        report.problem_at(node.origin, &place, format!("found {described}, expected a table such as {{ \"model.dim\" = 64 }}"));
        return vec![];
    };
    let mut changes = vec![];
    for (path, node) in entries {
        let origin = node.origin.clone();
        // Without quotes TOML reads model.dim as a table model, which would replace the whole of [model].
        if matches!(&node.value, Value::Table(_)) && !path.contains('.') {
            let message =
                format!("a table would replace the whole of {}: write each value's path in quotes, \"{path}.…\" = …", quoted(&path));
            report.problem_at(origin, &join(&place, &path), message);
            continue;
        }
        match Override::of_tier(&path, node) {
            Ok(change) => changes.push(change),
            Err(message) => report.problem_at(origin, &join(&place, &path), message),
        }
    }
    changes
}
