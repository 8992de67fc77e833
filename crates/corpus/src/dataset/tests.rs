//! Packing and reading back: the arithmetic of windows, equality for any number of threads, and datasets that lie.

use super::*;
use crate::clean::CleanDocument;
use crate::output::Output;
use crate::pack::{Frame, pack, sequences_in};
use crate::tokenizer::{Tokenizer, train_tokenizer};
use proptest::prelude::*;

fn write_chunk(folder: &Path, index: usize, texts: &[String]) -> PathBuf {
    let name = format!("train-{index:05}.jsonl");
    let mut output = Output::create(folder, name.as_str()).unwrap();
    for (ordinal, text) in (0..).zip(texts) {
        let text_digest = crate::normal::text_digest(text);
        let (id, text) = (ordinal.to_string(), text.clone());
        output.json_line(&CleanDocument { id, version: 1, source_index: 0, ordinal, words: 1, text_digest, text }).unwrap();
    }
    output.finish().unwrap();
    folder.join(name)
}

fn tokenizer(folder: &Path) -> Tokenizer {
    let train = write_chunk(folder, 99_999, &["the cat and the hat and the bat ".repeat(5)]);
    let path = folder.join("tokenizer.json");
    train_tokenizer(&[train], 270, 2, &path).unwrap();
    Tokenizer::load(&path).unwrap()
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("the cat {i} and the {} hat", "bat ".repeat(i % 11))).collect()
}

/// All tokens of each chunk, as packing should store them.
fn streams(chunks: &[Vec<String>], tokenizer: &Tokenizer) -> Vec<Vec<u32>> {
    let stream =
        |chunk: &Vec<String>| chunk.iter().flat_map(|t| tokenizer.encode(t).unwrap().into_iter().chain([tokenizer.eos()])).collect();
    chunks.iter().map(stream).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_token_but_the_first_and_the_tail_is_a_target_exactly_once(
        sizes in proptest::collection::vec(0usize..30, 1..4),
        length in 1u32..40,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = tokenizer(folder.path());
        let chunks: Vec<Vec<String>> = sizes.iter().map(|n| texts(*n)).collect();
        let files: Vec<PathBuf> = chunks.iter().enumerate().map(|(i, c)| write_chunk(folder.path(), i, c)).collect();
        let streams = streams(&chunks, &tokenizer);
        let stored: usize = streams.iter().map(Vec::len).sum();
        let manifest = match pack(&files, &tokenizer, length, None, folder.path()) {
            Ok(packed) => packed.dataset,
            Err(e) => {
                prop_assert!(streams.iter().all(|s| s.len() <= length as usize), "{e}");
                return Ok(());
            }
        };
        let dataset = Dataset::open(manifest.clone(), folder.path(), Verify::Full).unwrap();
        let (mut number, mut left_over, mut sequence) = (0, 0, vec![]);
        for stream in &streams {
            let (mut covered, mut targets) = (0, vec![]);
            for _ in 0..sequences_in(stream.len() as u64, length) {
                dataset.sequence(number, &mut sequence).unwrap();
                prop_assert_eq!(sequence.len(), length as usize + 1);
                prop_assert_eq!(sequence[0], stream[targets.len()], "a window begins with the last one's last target");
                targets.extend_from_slice(&sequence[1..]);
                (number, covered) = (number + 1, targets.len() + 1);
            }
            prop_assert_eq!(&targets[..], stream.get(1..covered).unwrap_or_default());
            prop_assert!(stream.len() - covered < length as usize + usize::from(covered == 0));
            left_over += stream.len() - covered;
        }
        prop_assert_eq!((manifest.sequences, manifest.tokens, manifest.dropped_tokens), (number, stored as u64, left_over as u64));
        prop_assert!(dataset.sequence(number, &mut sequence).is_err() && sequence.is_empty());
    }
}

#[test]
fn the_number_of_windows_is_exact_at_the_edges() {
    for (tokens, length, windows) in
        [(0, 4, 0), (1, 4, 0), (4, 4, 0), (5, 4, 1), (8, 4, 1), (9, 4, 2), (2, 1, 1), (u64::MAX, 1, u64::MAX - 1), (9, 0, 0)]
    {
        assert_eq!(sequences_in(tokens, length), windows, "{tokens} tokens, length {length}");
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = tokenizer(folder.path());
    let files = [write_chunk(folder.path(), 0, &texts(400)), write_chunk(folder.path(), 1, &texts(90))];
    let pack_with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| pack(&files, &tokenizer, 32, None, folder.path())).unwrap().dataset
    };
    let one = pack_with(1);
    assert!(one.sequences > 100);
    assert_eq!((pack_with(2), pack_with(7)), (one.clone(), one));
}

#[test]
fn too_little_text_is_an_error_with_the_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = tokenizer(folder.path());
    let files = [write_chunk(folder.path(), 0, &["the cat".to_owned()])];
    let stored = tokenizer.encode("the cat").unwrap().len() + 1;
    let message = pack(&files, &tokenizer, 512, None, folder.path()).unwrap_err().to_string();
    assert!(message.contains(&format!("1 documents have {stored} tokens")) && message.contains("length 512 needs 513"), "{message}");
    assert!(pack(&files, &tokenizer, 0, None, folder.path()).unwrap_err().to_string().contains("sequence_length is 0"));
    assert!(pack(&[], &tokenizer, 1, None, folder.path()).is_err());
}

fn packed(folder: &Path) -> DatasetManifest {
    let tokenizer = tokenizer(folder);
    pack(&[write_chunk(folder, 0, &texts(40))], &tokenizer, 16, None, folder).unwrap().dataset
}

#[test]
fn a_manifest_survives_json_and_one_that_was_edited_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = packed(folder.path());
    let json = serde_json::to_string(&manifest).unwrap();
    assert_eq!(serde_json::from_str::<DatasetManifest>(&json).unwrap(), manifest);
    type Edit = fn(&mut DatasetManifest);
    let edits: [Edit; 8] = [
        |m| m.sequences += 1,
        |m| m.tokens += 1,
        |m| m.sequence_length = 8,
        |m| m.shards[0].bin.bytes += 2,
        |m| m.shards[0].bin.name = "../x.bin".into(),
        |m| m.dropped_tokens += 1,
        |m| m.eos = m.vocab_size,
        |m| m.shards[0].tokens = u64::MAX,
    ];
    for edit in edits {
        let mut lying = manifest.clone();
        edit(&mut lying);
        assert!(Dataset::open(lying.clone(), folder.path(), Verify::Sizes).unwrap_err().to_string().contains("fingerprint"));
        lying.fingerprint = lying.expected_fingerprint();
        assert!(Dataset::open(lying, folder.path(), Verify::Sizes).is_err(), "also when its fingerprint was made to fit");
    }
}

#[test]
fn damaged_shards_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = packed(folder.path());
    let open = |verify| Dataset::open(manifest.clone(), folder.path(), verify).map(|d| d.len()).map_err(|e| e.to_string());
    assert_eq!(open(Verify::Full), Ok(manifest.sequences));
    let path = folder.path().join("shard-00000.bin");
    let good = std::fs::read(&path).unwrap();
    let mut bad = good.clone();
    bad[33] = 0xff;
    std::fs::write(&path, &bad).unwrap();
    assert!(open(Verify::Full).unwrap_err().contains("has digest"));
    let dataset = Dataset::open(manifest.clone(), folder.path(), Verify::Sizes).unwrap();
    let found = dataset.sequence(1, &mut vec![]).unwrap_err().to_string();
    assert!(found.contains("byte 32 ") && found.contains("not in the vocabulary"), "{found}");
    std::fs::write(&path, &good[..good.len() - 2]).unwrap();
    assert!(open(Verify::Sizes).unwrap_err().contains("the manifest says"));
    std::fs::remove_file(&path).unwrap();
    assert!(open(Verify::Sizes).unwrap_err().contains("cannot open"));
}

/// A bert's windows: each token of the stream once, between the two tokens that stand around.
#[test]
fn framed_windows_cover_the_stream_without_overlap() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = crate::testing::wordpiece(folder.path());
    let pieces = tokenizer.pieces().unwrap();
    let frame = Frame { begin: pieces.begin, end: pieces.end };
    let texts = texts(40);
    let manifest = pack(&[write_chunk(folder.path(), 0, &texts)], &tokenizer, 16, Some(frame), folder.path()).unwrap().dataset;
    let mut stream = vec![];
    for text in &texts {
        stream.extend(tokenizer.encode(text).unwrap());
        stream.push(tokenizer.eos());
    }
    assert_eq!((manifest.sequences, manifest.dropped_tokens), (stream.len() as u64 / 14, stream.len() as u64 % 14));
    let dataset = Dataset::open(manifest.clone(), folder.path(), Verify::Full).unwrap();
    let mut found = vec![];
    for (number, window) in (0..manifest.sequences).zip(stream.chunks(14)) {
        dataset.sequence(number, &mut found).unwrap();
        assert_eq!(found, [&[frame.begin], window, &[frame.end]].concat());
    }
    let mut wrong = manifest.clone();
    wrong.frame = Some(Frame { begin: u32::MAX, end: 0 });
    wrong.fingerprint = wrong.expected_fingerprint();
    assert!(wrong.check().unwrap_err().to_string().contains("not in the vocabulary"));
    assert!(pack(&[], &tokenizer, 2, Some(frame), folder.path()).is_err());
}

/// A tokenizer that puts a token before texts begins documents with it, and that is part of the dataset's identity.
#[test]
fn documents_begin_with_the_tokenizers_own_token() {
    let folder = tempfile::tempdir().unwrap();
    let plain = tokenizer(folder.path());
    let path = folder.path().join("tokenizer.json");
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    json["post_processor"] = serde_json::json!({
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "B", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"B": {"id": "B", "ids": [5], "tokens": ["B"]}},
    });
    std::fs::write(&path, json.to_string()).unwrap();
    let with_bos = Tokenizer::load(&path).unwrap();
    let texts = texts(40);
    let train = [write_chunk(folder.path(), 0, &texts)];
    let begun = pack(&train, &with_bos, 16, None, folder.path()).unwrap().dataset;
    let mut stream = vec![];
    for text in &texts {
        stream.push(5);
        stream.extend(plain.encode(text).unwrap());
        stream.push(plain.eos());
    }
    assert_eq!((begun.front.as_slice(), begun.tokens), (&[5][..], stream.len() as u64));
    let dataset = Dataset::open(begun.clone(), folder.path(), Verify::Full).unwrap();
    let mut found = vec![];
    for (number, window) in (0..begun.sequences).zip(stream.windows(17).step_by(16)) {
        dataset.sequence(number, &mut found).unwrap();
        assert_eq!(found, window);
    }
    let bare = pack(&train, &plain, 16, None, folder.path()).unwrap().dataset;
    assert_eq!(bare.tokens + 40, begun.tokens);
    // Manifests without such a token are what they were, digit for digit.
    assert!(!serde_json::to_string(&bare).unwrap().contains("front"));
    for change in [|m: &mut DatasetManifest| m.front = vec![], |m: &mut DatasetManifest| m.front = vec![m.vocab_size]] {
        let mut lying = begun.clone();
        change(&mut lying);
        assert_ne!(lying.expected_fingerprint(), begun.fingerprint);
        assert!(lying.check().unwrap_err().to_string().contains("fingerprint"));
    }
    let mut beyond = DatasetManifest { front: vec![begun.vocab_size], ..begun };
    beyond.fingerprint = beyond.expected_fingerprint();
    assert!(beyond.check().unwrap_err().to_string().contains("begin with is not in the vocabulary"));
}
