//! What a cluster's folder holds, and that nothing in it is replaced unasked.

use super::*;
use std::os::unix::fs::PermissionsExt;

const NOW: Millis = Millis(1_800_000_000_000);

fn hosts() -> Vec<String> {
    ["coordinator.example", "10.1.2.3", "fd00::7"].map(str::to_owned).into()
}

#[test]
fn a_cluster_gets_its_folders_and_secrets_only_their_owner_can_read() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("cluster");
    init(&folder, &hosts(), NOW).unwrap();
    let mode = |name: &str| fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
    for secret in [CA_KEY, "coordinator/key.pem", "agent/key.pem", "agent/token", "admin/token", "coordinator/tokens.json"] {
        assert_eq!(mode(secret), 0o600, "{secret}");
    }
    assert!(!folder.join("admin/key.pem").exists() && !folder.join("coordinator").join(CA_KEY).exists());
    let seen = inspect(&folder.join("coordinator/cert.pem")).unwrap();
    assert_eq!((seen.subject.as_str(), &seen.hosts), ("CN=osler coordinator", &hosts()));
    assert_eq!(seen.days_left(NOW), 365);
    assert_eq!(seen.days_left(Millis(NOW.0 + 366 * DAY)), -1);
    assert_eq!(inspect(&folder.join(tls::CA)).unwrap().days_left(NOW), 3650);

    let first = first_tokens(&folder.join(COORDINATOR)).unwrap();
    assert_eq!(first.iter().map(|t| (t.name.as_str(), t.role)).collect::<Vec<_>>(), [("agent", Role::Worker), ("admin", Role::Admin)]);
    let secret = fs::read_to_string(folder.join("admin/token")).unwrap();
    assert_eq!(first[1].sha256, osler_core::digest::Digest::of(secret.as_bytes()));
    let shown = fs::read_to_string(folder.join("coordinator/tokens.json")).unwrap();
    assert!(!shown.contains(&secret), "the coordinator's folder holds a secret of the admin");
}

#[test]
fn no_ca_is_replaced() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    init(&folder.join("c"), &hosts(), NOW).unwrap();
    let before = fs::read(folder.join("c").join(CA_KEY)).unwrap();
    assert!(matches!(init(&folder.join("c"), &hosts(), NOW), Err(PkiError::Exists(_))));
    assert_eq!(fs::read(folder.join("c").join(CA_KEY)).unwrap(), before);
    // Nor is a half of one.
    fs::create_dir(folder.join("d")).unwrap();
    fs::write(folder.join("d").join(tls::CA), "mine").unwrap();
    assert!(matches!(init(&folder.join("d"), &hosts(), NOW), Err(PkiError::Exists(_))));
    assert_eq!(fs::read(folder.join("d").join(tls::CA)).unwrap(), b"mine");
}

#[test]
fn rotation_keeps_the_ca_the_names_and_the_tokens() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("c");
    init(&folder, &hosts(), NOW).unwrap();
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let before = ["ca.pem", "ca-key.pem", "agent/token", "coordinator/tokens.json"].map(read);
    let replaced = ["coordinator/cert.pem", "coordinator/key.pem", "agent/cert.pem", "agent/key.pem"].map(read);
    rotate(&folder, None, Millis(NOW.0 + 300 * DAY)).unwrap();
    assert_eq!(["ca.pem", "ca-key.pem", "agent/token", "coordinator/tokens.json"].map(read), before);
    let now = ["coordinator/cert.pem", "coordinator/key.pem", "agent/cert.pem", "agent/key.pem"].map(read);
    assert!(now.iter().zip(&replaced).all(|(now, before)| now != before));
    let seen = inspect(&folder.join("coordinator/cert.pem")).unwrap();
    assert_eq!((seen.hosts.clone(), seen.days_left(NOW)), (hosts(), 665));
}

#[test]
fn a_coordinator_gets_other_names_and_its_agents_keep_their_certificates() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("c");
    init(&folder, &hosts(), NOW).unwrap();
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let before = ["ca.pem", "agent/cert.pem", "agent/key.pem"].map(read);
    let other = ["standby.example".to_owned(), "10.1.2.4".to_owned()];
    rotate(&folder, Some(&other), NOW).unwrap();
    assert_eq!(inspect(&folder.join("coordinator/cert.pem")).unwrap().hosts, other);
    assert_eq!(["ca.pem", "agent/cert.pem", "agent/key.pem"].map(read), before);
    assert!(matches!(rotate(&folder, Some(&["a b".to_owned()]), NOW), Err(PkiError::BadHost(_))));
    assert_eq!(inspect(&folder.join("coordinator/cert.pem")).unwrap().hosts, other);
}

#[test]
fn hosts_that_are_none_are_refused_before_anything_is_made() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("c");
    for bad in [vec![], vec!["a b".to_owned()], vec!["x:70".to_owned()], vec!["../x".to_owned()], vec!["a".to_owned(); 65]] {
        assert!(init(&folder, &bad, NOW).is_err(), "{bad:?}");
        assert!(!folder.exists());
    }
}
