//! The ids of texts, for comparing them with another implementation's:
//!
//!     tokens FOLDER...
//!
//! reads `tokenizer.json` and `texts.json` (a list of strings) in each folder and writes `ids.json` beside them.
#![forbid(unsafe_code)]

use osler_corpus::Tokenizer;
use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    for folder in std::env::args_os().skip(1).map(PathBuf::from) {
        let tokenizer = Tokenizer::load(&folder.join("tokenizer.json"))?;
        let texts: Vec<String> = serde_json::from_slice(&std::fs::read(folder.join("texts.json"))?)?;
        let ids = texts.iter().map(|text| tokenizer.encode(text)).collect::<Result<Vec<_>, _>>()?;
        std::fs::write(folder.join("ids.json"), serde_json::to_vec(&ids)?)?;
    }
    Ok(())
}
