//! Who may import whom, read from `cargo metadata`: the rules of docs/architecture.md, section Layout.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use std::collections::{BTreeMap, BTreeSet};

/// Package, and the packages of ours that it may depend on.
const RULES: &[(&str, &[&str])] = &[
    ("osler-core", &[]),
    ("osler-runtime", &["osler-core"]),
    ("osler-proto", &["osler-core"]),
    ("osler-model", &["osler-core"]),
    ("osler-input", &[]),
    ("osler-corpus", &["osler-core", "osler-input", "osler-model"]),
    ("osler-exam", &["osler-core", "osler-input", "osler-model"]),
    ("osler-compress", &["osler-core", "osler-model"]),
    ("osler-demo", &[]),
    ("osler-torch-dist", &[]),
    ("osler-engine", &["osler-core", "osler-model", "osler-torch-dist"]),
    ("osler-coordinator", &["osler-core", "osler-runtime", "osler-proto", "osler-corpus"]),
    (
        "osler-launcher",
        &["osler-core", "osler-runtime", "osler-proto", "osler-corpus", "osler-model", "osler-exam", "osler-compress", "osler-demo"],
    ),
    ("osler-worker", &["osler-core", "osler-runtime", "osler-proto", "osler-corpus", "osler-model", "osler-compress"]),
    (
        "osler-rank",
        &[
            "osler-core",
            "osler-runtime",
            "osler-corpus",
            "osler-model",
            "osler-engine",
            "osler-torch-dist",
            "osler-exam",
            "osler-compress",
            "osler-worker",
        ],
    ),
    ("osler-tests", &["osler-core", "osler-demo", "osler-proto", "osler-runtime"]),
];

fn metadata() -> Metadata {
    MetadataCommand::new().manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")).exec().unwrap()
}

#[test]
fn packages_import_only_what_their_place_allows() {
    let rules: BTreeMap<&str, BTreeSet<&str>> = RULES.iter().map(|(p, may)| (*p, may.iter().copied().collect())).collect();
    for package in metadata().workspace_packages() {
        let name = package.name.as_str();
        let may = rules.get(name).unwrap_or_else(|| panic!("{name} has no rule: add it here and to docs/architecture.md"));
        let ours = package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development && d.name.starts_with("osler-"));
        for dependency in ours {
            assert!(may.contains(dependency.name.as_str()), "{name} imports {}", dependency.name);
        }
    }
}

#[test]
fn coordinator_launcher_and_agent_never_link_libtorch() {
    let metadata = metadata();
    let resolve = metadata.resolve.as_ref().unwrap();
    let names: BTreeMap<_, _> = metadata.packages.iter().map(|p| (&p.id, p.name.as_str())).collect();
    let edges: BTreeMap<_, Vec<_>> = resolve
        .nodes
        .iter()
        .map(|n| {
            let normal = n.deps.iter().filter(|d| d.dep_kinds.iter().any(|k| k.kind == DependencyKind::Normal));
            (&n.id, normal.map(|d| &d.pkg).collect())
        })
        .collect();
    for root in ["osler-coordinator", "osler-launcher", "osler-worker"] {
        let mut todo: Vec<_> = names.iter().filter(|(_, n)| **n == root).map(|(id, _)| *id).collect();
        assert_eq!(todo.len(), 1);
        let mut seen = BTreeSet::new();
        while let Some(id) = todo.pop() {
            if seen.insert(id) {
                assert_ne!(names[id], "torch-sys", "{root} links libtorch");
                todo.extend(&edges[id]);
            }
        }
        assert!(seen.len() > 10, "{root} seems to depend on nothing: the check is broken");
    }
}
