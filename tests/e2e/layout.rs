//! Who may import whom, read from `cargo metadata`: the rules of docs/architecture.md, section Layout.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use std::collections::{BTreeMap, BTreeSet};

/// Package, and the packages of ours that it depends on: all of them, and no other.
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
    ("osler-coordinator", &["osler-core", "osler-runtime", "osler-proto"]),
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
    ("osler-tests", &[]),
];

/// The same for what only tests need; packages that are not named have no such dependency.
const TEST_RULES: &[(&str, &[&str])] = &[
    ("osler-coordinator", &["osler-worker"]), // the simulation runs the agents' real book
    ("osler-tests", &["osler-core", "osler-demo", "osler-exam", "osler-proto", "osler-runtime"]),
];

fn metadata() -> Metadata {
    MetadataCommand::new().manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")).exec().unwrap()
}

#[test]
fn packages_import_what_their_place_allows_and_nothing_else() {
    let of = |rules: &'static [(&str, &[&'static str])], name: &str| {
        rules.iter().find(|(package, _)| *package == name).map(|(_, ours)| ours.iter().copied().collect::<BTreeSet<&str>>())
    };
    for package in metadata().workspace_packages() {
        let name = package.name.as_str();
        let ours = |tests: bool| {
            let of_kind = package.dependencies.iter().filter(|d| (d.kind == DependencyKind::Development) == tests);
            of_kind.map(|d| d.name.as_str()).filter(|name| name.starts_with("osler-")).collect::<BTreeSet<&str>>()
        };
        let rule = of(RULES, name).unwrap_or_else(|| panic!("{name} has no rule: add it here and to docs/architecture.md"));
        assert_eq!(ours(false), rule, "what {name} imports, and what its rule says");
        assert_eq!(ours(true), of(TEST_RULES, name).unwrap_or_default(), "what the tests of {name} import, and what their rule says");
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
