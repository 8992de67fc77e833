"""Texts that spell special tokens, through our tokenizing and through the tokenizers library's: make FOLDER, then check FOLDER.

`make` writes tokenizers of each kind of model and texts. Our example `tokens` writes its ids beside them. `check` holds that no id is a
special token's, that the library decodes ours to the text (where its kind of model can), and that texts without such words have the
library's own ids.
"""

import json
import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

WORDS = "the patient has no fever and the knee is painful after surgery dose 5 mg of aspirin was given twice daily".split()
PLAIN = [" ".join(WORDS), "Knee pain, grade 2 (of 4).", "a", "", "line one\nline two", "naïve café µg β-blocker", "knee osteoarthritis knee"]
SPELLED = ["<|endoftext|>", "</s>", "<s>", "<pad>", "<unk>", "[SEP]", "[CLS]", "[MASK]", "[PAD]", "<mask>"]
TRICKY = [f"{a}{b}{a}" for a in SPELLED for b in ("", " ", " pain ")] + ["<<s>/s>", "[[SEP]SEP]", "<|endoftext|endoftext|>", "x</s", "<0x41> and <0x0A>"]
# Added by a user, not special: stays one token.
OWN = "osteoarthritis"


def trained(model, trainer, pre, decoder, normalizer=None, special=()):
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer, tokenizer.decoder = pre, decoder
    if normalizer:
        tokenizer.normalizer = normalizer
    # What is spelled is part of what is learned, so that the models have reason to make one piece of it.
    tokenizer.train_from_iterator(PLAIN * 20 + ["</s>", "<pad>", "[SEP]", "<|endoftext|>"] * 200, trainer(vocab_size=400, special_tokens=list(special), show_progress=False))
    tokenizer.add_tokens([AddedToken(OWN, normalized=False)])
    return tokenizer


def byte_level():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False), decoders.ByteLevel()


def kinds():
    """Name to (tokenizer, config beside it, whether its decoding gives the text back)."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe = lambda **more: trainers.BpeTrainer(initial_alphabet=alphabet, **more)
    special = ["<|endoftext|>", "<pad>"]
    yield "bpe", trained(models.BPE(), bpe, *byte_level(), special=special), {}, True
    # The same words among the merges, and special only by the config beside.
    learned = trained(models.BPE(), bpe, *byte_level())
    learned.add_tokens([AddedToken("<|endoftext|>", normalized=False), AddedToken("<s>", normalized=True)])
    yield "bpe-by-config", learned, {"eos_token": "</s>", "bos_token": "<s>", "pad_token": "<pad>", "sep_token": "<|endoftext|>"}, True
    dropout = trained(models.BPE(), bpe, *byte_level(), special=special)
    dropout.model.dropout = 0.5
    yield "bpe-dropout", dropout, {}, True
    meta = lambda: (pre_tokenizers.Metaspace(prepend_scheme="never", split=False), decoders.Metaspace(prepend_scheme="never", split=False))
    unigram = lambda **more: trainers.UnigramTrainer(unk_token="<unk>", initial_alphabet=list("<>/|[]SEPadunktx"), **more)
    yield "unigram", trained(models.Unigram(), unigram, *meta(), special=["<unk>", "</s>", "<s>", "<pad>", "[SEP]"]), {"eos_token": "</s>"}, True
    pieces = [(t, s) for t, s in json.loads(trained(models.Unigram(), unigram, *meta(), special=["<unk>", "</s>"]).to_str())["model"]["vocab"]]
    pieces += [(f"<0x{b:02X}>", 0.0) for b in range(256)]
    fallback = Tokenizer(models.Unigram(pieces, 0, True))
    fallback.pre_tokenizer, _ = meta()
    fallback.add_special_tokens(["<pad>"])
    fallback.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Replace("▁", " "), decoders.Fuse()])
    yield "unigram-bytes", fallback, {"eos_token": "</s>"}, True
    piece = lambda **more: trainers.WordPieceTrainer(**more)
    five = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    bert = normalizers.BertNormalizer()
    yield "wordpiece", trained(models.WordPiece(unk_token="[UNK]"), piece, pre_tokenizers.BertPreTokenizer(), decoders.WordPiece(), bert, five), {}, False
    yield "wordpiece-words", trained(models.WordPiece(unk_token="[UNK]"), piece, pre_tokenizers.WhitespaceSplit(), decoders.WordPiece(), None, five), {}, False
    word = lambda **more: trainers.WordLevelTrainer(**more)
    yield "wordlevel", trained(models.WordLevel(unk_token="<unk>"), word, pre_tokenizers.WhitespaceSplit(), decoders.Fuse(), None, ["<unk>", "</s>"]), {"eos_token": "</s>"}, False
    split = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r"\d"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    yield "bpe-sequence", trained(models.BPE(), bpe, split, decoders.ByteLevel(), normalizers.NFC(), special), {}, True


def make(folder):
    for name, tokenizer, config, exact in kinds():
        there = folder / name
        there.mkdir(parents=True)
        tokenizer.save(str(there / "tokenizer.json"))
        (there / "tokenizer_config.json").write_text(json.dumps(config))
        (there / "texts.json").write_text(json.dumps(PLAIN + TRICKY))
        (there / "exact").write_text(str(int(exact)))


def check_one(there):
    tokenizer = Tokenizer.from_file(str(there / "tokenizer.json"))
    config = json.loads((there / "tokenizer_config.json").read_text())
    texts, ours = json.loads((there / "texts.json").read_text()), json.loads((there / "ids.json").read_text())
    assert len(texts) == len(ours), there
    unknown = {tokenizer.token_to_id(t) for t in ("<unk>", "[UNK]")}
    special = {i for i, t in tokenizer.get_added_tokens_decoder().items() if t.special} | {tokenizer.token_to_id(t) for t in config.values()}
    control = special - unknown - {None}
    assert control, f"{there.name} has no special tokens: it proves nothing"
    if tokenizer.to_str().find('"dropout":0.5') >= 0:
        tokenizer.model.dropout = None
    forged = same = 0
    for text, ids in zip(texts, ours):
        theirs = tokenizer.encode(text, add_special_tokens=False).ids
        assert not control & set(ids), f"{there.name}: {text!r} has a special token: {ids}"
        forged += bool(control & set(theirs))
        if text in PLAIN:
            assert ids == theirs, f"{there.name}: {text!r}: ours {ids}, theirs {theirs}"
            same += 1
        if (there / "exact").read_text() == "1" and not unknown & set(ids):
            assert tokenizer.decode(ids, skip_special_tokens=False) == text, f"{there.name}: {text!r} comes back as {tokenizer.decode(ids)!r}"
    assert forged > 2 and same > 4, f"{there.name}: the library makes special tokens of {forged} texts only"
    own = tokenizer.token_to_id(OWN)
    assert own is None or own in ours[texts.index("knee osteoarthritis knee")], f"{there.name}: {OWN} is no longer one token"
    print(f"{there.name}: {same} texts with the library's ids, {forged} that it reads as special tokens and we spell out")


if __name__ == "__main__":
    action, folder = sys.argv[1], Path(sys.argv[2])
    if action == "make":
        make(folder)
    else:
        for there in sorted(folder.iterdir()):
            check_one(there)
