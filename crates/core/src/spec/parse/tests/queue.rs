//! `[queue]`, and what `[resources]` says about workers.

use super::*;

#[test]
fn a_queue_and_labels_are_read() {
    let text = format!(
        "{FULL}[queue]\npriority = -5\nteam = \"nlp\"\n[resources]\nranks = 2\naffinity = \"switch\"\naffinity_required = true\nrequire = {{ gpu = \"h100\" }}\n"
    );
    let spec = read(&text.replacen("[resources]\nranks = 2\n[", "[", 1), &[]);
    assert_eq!((spec.queue.priority, spec.queue.team.as_ref().map(|t| t.as_str())), (-5, Some("nlp")));
    let affinity = spec.resources.affinity.clone().unwrap();
    assert_eq!((affinity.label.as_str(), affinity.required), ("switch", true));
    assert_eq!(spec.resources.require.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(), ["gpu=h100"]);
    let wire: RunSpec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
    assert_eq!(wire, spec);
    assert_ne!(spec.digest(), read(FULL, &[]).digest());
}

#[test]
fn a_file_without_them_keeps_the_digest_that_it_had() {
    let document = serde_json::to_string(&read(FULL, &[])).unwrap();
    for word in ["queue", "affinity", "require\""] {
        assert!(!document.contains(word), "{word} is in the document of a file that does not use it");
    }
}

#[test]
fn what_cannot_be_meant_is_a_problem() {
    for (set, expected) in [
        ("queue.priority=101", "found 101, expected -100 to 100"),
        ("queue.priority=-101", "found -101, expected -100 to 100"),
        ("queue.team=\"Not A Name\"", "team name \"Not A Name\" is not usable"),
        ("resources.affinity_required=true", "says nothing without affinity"),
        ("resources.require.gpu=8", "found the number 8, expected a name"),
        ("resources.require.Gpu=\"h100\"", "label name \"Gpu\" is not usable"),
        ("queue.prority=1", "did you mean \"priority\"?"),
    ] {
        let found = problems(&[], &[set]).join("\n");
        assert!(found.contains(expected), "{set}: {found}");
    }
}
