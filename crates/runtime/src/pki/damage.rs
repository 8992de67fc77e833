//! Files of a host that were damaged, on their way there or by hand: refused with their names, never a panic.

use super::*;
use crate::tls::ServerTls;
use osler_core::mutate::{damaged, rounds};

/// What reads a file of a coordinator's folder: `Err` has the words that its user sees.
fn read(folder: &Path, name: &str) -> Result<(), String> {
    let path = folder.join(name);
    match name {
        FIRST_TOKENS => first_tokens(folder).map(drop).map_err(|e| e.to_string()),
        tls::TOKEN => Token::load(&path).map(drop).map_err(|e| e.to_string()),
        tls::CERTIFICATE => inspect(&path).map_err(|e| e.to_string()).and(ServerTls::open(folder).map(drop).map_err(|e| e.to_string())),
        _ => ServerTls::open(folder).map(drop).map_err(|e| e.to_string()),
    }
}

#[test]
fn a_damaged_file_is_refused_by_name_or_read_without_a_panic() {
    let temporary = tempfile::tempdir().unwrap();
    init(&temporary.path().join("c"), &["localhost".to_owned()], Millis(1_800_000_000_000)).unwrap();
    let folder = temporary.path().join("c").join(COORDINATOR);
    Token::load_or_create(&folder.join(tls::TOKEN)).unwrap();
    for name in [tls::CA, tls::CERTIFICATE, tls::KEY, tls::TOKEN, FIRST_TOKENS] {
        let path = folder.join(name);
        let whole = fs::read(&path).unwrap();
        read(&folder, name).unwrap_or_else(|why| panic!("{name} is refused as it was made: {why}"));
        let all = rounds(std::env::var("OSLER_FUZZ").ok().as_deref()) / 8;
        let mut refused = 0;
        for round in 0..all {
            fs::write(&path, damaged(std::slice::from_ref(&whole), round)).unwrap();
            if let Err(why) = read(&folder, name) {
                refused += 1;
                assert!(why.contains(folder.to_str().unwrap()), "{name}, round {round}, says not where: {why}");
            }
        }
        assert!(2 * refused > all, "{name}: {refused} of {all} damaged ones were refused");
        fs::write(&path, whole).unwrap();
    }
}
