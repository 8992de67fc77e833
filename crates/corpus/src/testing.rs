//! What several test modules need.

use std::path::{Path, PathBuf};

/// The folder of shared real data: `$OSLER_SHARED/data`, or `shared/data` beside the checkout. Without it the test says that it is skipped.
pub(crate) fn shared_data(test: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3).map(|p| p.join("shared"));
    let folder = std::env::var_os("OSLER_SHARED").map(PathBuf::from).or_else(beside).map(|p| p.join("data"));
    let found = folder.filter(|f| f.is_dir());
    if found.is_none() {
        eprintln!("SKIPPED: {test}: no shared data");
    }
    found
}

/// A WordPiece tokenizer of the words that tests are made of, and of the letters.
pub(crate) fn wordpiece(folder: &Path) -> crate::Tokenizer {
    let letters = (b'a'..=b'z').chain(b'0'..=b'9').map(char::from);
    let pieces = letters.flat_map(|c| [c.to_string(), format!("##{c}")]).collect::<Vec<_>>().join("\n");
    let path = folder.join("vocab.txt");
    std::fs::write(&path, format!("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n.\n{pieces}\n")).unwrap();
    crate::Tokenizer::load(&path).unwrap()
}
