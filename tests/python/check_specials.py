"""Special tokens, chat templates and generation settings survive everything that Osler does with a folder; transformers is the judge.

usage: check_specials.py make OUT            one folder of each kind in OUT, with a run file that continues it for two steps with no rate
       check_specials.py kept SOURCE FOLDER  FOLDER (an export, or its int8 form) says what SOURCE says
       check_specials.py gguf SOURCE FILE    FILE says what transformers does with SOURCE, and transformers reads the same ids from it
       check_specials.py packed SOURCE STORE the run's packed documents are what transformers' tokenizer gives, and an end
       check_specials.py marks REPORT...     reports of the same text (osler-rank exam --output json) agree
"""

import json
import shutil
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from make_models import model_of
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoTokenizer, GemmaConfig, GenerationConfig, GPT2Config, LlamaConfig, Qwen2Config

TEXTS = [
    "The nurse counted 1234 tablets; the doctor didn't agree, and they've checked again at 09:45.",
    "Fever, cough and fatigue were seen in 57 of 90 patients. Naïve T-cells (CD4+) fell by 12.5%.",
    "A small trial of\n\nwarm tea  and rest:\tresults weren't clear. I'll say it's fine, we'd hoped more.",
]
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
MESSAGES = [{"role": "user", "content": "Is tea good?"}, {"role": "assistant", "content": "It is warm."}]
TEMPLATE = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}{% endfor %}"
SHAPE = dict(vocab_size=448, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=96, max_position_embeddings=512)


def byte_level(regex, specials):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if regex:
        split = [pre_tokenizers.Split(Regex(regex), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(TEXTS * 5, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False))
    # Behind the vocabulary, as in the folders of real models.
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    return tokenizer


def sentence_piece(prefix, specials):
    """As transformers stores SentencePiece: every pair that joins to a piece is a merge, in the order of the pieces."""
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.Metaspace()
    learned.train_from_iterator(TEXTS * 5, trainers.BpeTrainer(vocab_size=170, show_progress=False))
    pieces = sorted(learned.get_vocab(), key=learned.get_vocab().get)
    letters = [p for p in pieces if len(p) == 1] + ["▁"] * ("▁" not in pieces)
    tokens = [*specials, *(f"<0x{byte:02X}>" for byte in range(256)), *(p for p in pieces if len(p) > 1), *letters]
    vocab = {token: i for i, token in enumerate(tokens)}
    merges = [(p[:i], p[i:]) for p in pieces if len(p) > 1 for i in range(1, len(p)) if p[:i] in vocab and p[i:] in vocab]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    steps = [normalizers.Prepend("▁")] * prefix + [normalizers.Replace(" ", "▁")]
    tokenizer.normalizer = normalizers.Sequence(steps) if prefix else steps[0]
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    return tokenizer


def around(tokenizer, single, level=False):
    names = [piece for piece in single.split() if piece != "$A"]
    pair = f"{single} $B:1"
    template = processors.TemplateProcessing(single=single, pair=pair, special_tokens=[(name, tokenizer.token_to_id(name)) for name in names])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), template]) if level else template
    return tokenizer


def kinds():
    """Name, tokenizer, tokenizer_config.json, files beside it, model config, generation settings."""
    two = around(sentence_piece(True, ["<unk>", "<s>", "</s>"]), "<s> $A")
    named = dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    yield "llama2", two, dict(tokenizer_class="LlamaTokenizer", **named, model_max_length=4096, add_bos_token=True, legacy=False), {}, LlamaConfig(
        **SHAPE, bos_token_id=1, eos_token_id=2, pad_token_id=None), None

    ends = ["<|begin_of_text|>", "<|end_of_text|>", "<|eom_id|>", "<|eot_id|>", "<|pad|>"]
    three = around(byte_level(LLAMA3, ends), "<|begin_of_text|> $A", level=True)
    ids = [three.token_to_id(token) for token in ends]
    yield "llama3", three, dict(tokenizer_class="PreTrainedTokenizerFast", bos_token=ends[0], eos_token=ends[3], pad_token=ends[4], model_max_length=131072), {
        "chat_template.jinja": TEMPLATE, "additional_chat_templates/tool_use.jinja": "tools: " + TEMPLATE}, LlamaConfig(
        **SHAPE, bos_token_id=ids[0], eos_token_id=ids[1:4], pad_token_id=ids[4], rope_parameters={"rope_type": "default", "rope_theta": 500000.0}), dict(
        bos_token_id=ids[0], eos_token_id=ids[1:4], pad_token_id=ids[4], do_sample=True, temperature=0.6, top_p=0.9)

    ends = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    qwen = byte_level(QWEN2, ends)
    qwen.normalizer = normalizers.NFC()
    qwen.post_processor = processors.ByteLevel(trim_offsets=False)
    ids = [qwen.token_to_id(token) for token in ends]
    yield "qwen2", qwen, dict(tokenizer_class="Qwen2Tokenizer", bos_token=None, eos_token="<|im_end|>", pad_token="<|endoftext|>", unk_token=None,
        add_bos_token=False, chat_template=TEMPLATE.replace("{{ bos_token }}", ""), model_max_length=32768), {}, Qwen2Config(
        **SHAPE, bos_token_id=ids[0], eos_token_id=ids[2], pad_token_id=None, tie_word_embeddings=True), dict(
        bos_token_id=ids[0], pad_token_id=ids[0], eos_token_id=[ids[2], ids[0]], do_sample=True, top_k=20, repetition_penalty=1.1)

    gemma = around(sentence_piece(False, ["<pad>", "<eos>", "<bos>", "<unk>"]), "<bos> $A")
    named = dict(bos_token="<bos>", eos_token="<eos>", unk_token="<unk>", pad_token="<pad>")
    yield "gemma", gemma, dict(tokenizer_class="GemmaTokenizer", **named, chat_template=[dict(name="default", template=TEMPLATE), dict(name="rag", template="rag " + TEMPLATE)]), {}, GemmaConfig(
        **(SHAPE | dict(num_key_value_heads=1)), head_dim=32, bos_token_id=2, eos_token_id=1, pad_token_id=0), None

    gpt2 = byte_level(None, ["<|endoftext|>"])
    end = gpt2.token_to_id("<|endoftext|>")
    named = dict.fromkeys(["bos_token", "eos_token", "unk_token"], "<|endoftext|>")
    yield "gpt2", gpt2, dict(tokenizer_class="GPT2Tokenizer", **named, model_max_length=512), {}, GPT2Config(
        vocab_size=448, n_embd=64, n_layer=2, n_head=4, n_positions=512, bos_token_id=end, eos_token_id=end), None

    # A GPT-2 that puts its only special token at both ends.
    both = around(byte_level(None, ["<|endoftext|>"]), "<|endoftext|> $A <|endoftext|>")
    yield "gpt2-both", both, dict(tokenizer_class="GPT2Tokenizer", **named), {}, GPT2Config(
        vocab_size=448, n_embd=64, n_layer=2, n_head=4, n_positions=512, bos_token_id=end, eos_token_id=end), dict(eos_token_id=end, max_new_tokens=7)


RUN = """name = "{name}"
seed = 5
[corpus.c]
format = "jsonl"
files = "text.jsonl"
held_out = 0.0
[tokenizer]
file = "source/tokenizer.json"
[model]
{model}
[[stage]]
name = "s"
from = "hf:source"
corpus = "c"
steps = 2
sequence_length = 64
global_batch = 4
document_mask = true
optimizer = {{ lr = 1e-30, weight_decay = 0.0 }}
schedule = {{ kind = "constant" }}
"""


def make(out):
    for name, tokenizer, settings, files, config, generation in kinds():
        folder = out / name / "source"
        folder.mkdir(parents=True)
        model = model_of(config)
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink()
        if generation is not None:
            (folder / "generation_config.json").write_text(json.dumps(generation))
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        for file, text in files.items():
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_text(text)
        documents = [f"{text} Part {i}." for i in range(20) for text in TEXTS]
        (out / name / "text.jsonl").write_text("".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(documents)))
        shape = {"family": config.model_type, "dim": 64, "layers": 2, "heads": 4, "tied": getattr(config, "tie_word_embeddings", False)}
        if config.model_type != "gpt2":
            shape |= {"kv_heads": config.num_key_value_heads, "ffn": 96, "norm_eps": config.rms_norm_eps, "rope_theta": config.rope_parameters["rope_theta"]}
        if config.model_type == "gemma":
            shape |= {"head_dim": 32}
        lines = [f"{key} = {json.dumps(value)}" for key, value in shape.items()]
        # max_positions is not named: a continued model keeps its own.
        (out / name / "run.toml").write_text(RUN.format(name=name, model="\n".join(lines)))


def ids_of(folder, **options):
    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    return [tokenizer(text).input_ids for text in TEXTS]


def rendered(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    names = list(tokenizer.chat_template) if isinstance(tokenizer.chat_template, dict) else ["default"] * bool(tokenizer.chat_template)
    single = isinstance(tokenizer.chat_template, str)
    return {name: tokenizer.apply_chat_template(MESSAGES, chat_template=None if single else name, tokenize=False) for name in names}


def generation(folder):
    """What transformers generates with: the file's settings, or those of the model's config."""
    if (folder / "generation_config.json").exists():
        settings = GenerationConfig.from_pretrained(folder)
    else:
        settings = GenerationConfig.from_model_config(AutoConfig.from_pretrained(folder))
    # Only the derived settings spell out what is the default anyway.
    said = {key: value for key, value in settings.to_dict().items() if value not in (None, False)}
    return {key: value for key, value in said.items() if key not in ("transformers_version", "_from_model_config", "use_cache")}


def facts(folder):
    tokenizer, config = AutoTokenizer.from_pretrained(folder), AutoConfig.from_pretrained(folder)
    return {
        "ids": ids_of(folder),
        "class": type(tokenizer).__name__,
        "special tokens": tokenizer.special_tokens_map,
        "model_max_length": tokenizer.model_max_length,
        "chat templates": rendered(folder),
        "generation": generation(folder),
        "config's ids": [config.bos_token_id, config.eos_token_id, config.pad_token_id],
        "context": config.max_position_embeddings,
    }


def kept(source, folder):
    before, after = facts(source), facts(folder)
    return [f"{key}: {before[key]} became {after[key]}" for key in before if before[key] != after[key]]


def said(source, file):
    """The file's metadata."""
    fields = gguf.GGUFReader(file).fields
    return {key.removeprefix("tokenizer."): field.contents() for key, field in fields.items() if key.startswith("tokenizer.")}


def check_gguf(source, file):
    found, tokenizer = said(source, file), AutoTokenizer.from_pretrained(source)
    config, vocab, first = AutoConfig.from_pretrained(source), gguf.SpecialVocab(source), tokenizer("a").input_ids
    stops = generation(source).get("eos_token_id")
    stops = stops if isinstance(stops, list) else [stops]
    template = tokenizer.chat_template
    templates = template if isinstance(template, dict) else ({"default": template} if template else {})
    wanted = {
        "ggml.add_bos_token": tokenizer.bos_token_id is not None and first[0] == tokenizer.bos_token_id,
        "ggml.add_eos_token": tokenizer.eos_token_id is not None and first[-1] == tokenizer.eos_token_id,
        "ggml.eos_token_id": tokenizer.eos_token_id,
        "ggml.bos_token_id": tokenizer.bos_token_id if tokenizer.bos_token_id is not None else config.bos_token_id,
        "ggml.padding_token_id": tokenizer.pad_token_id if tokenizer.pad_token_id is not None else config.pad_token_id,
        "chat_template": templates.get("default"),
        "chat_templates": [name for name in templates if name != "default"] or None,
    }
    wanted |= {f"chat_template.{name}": text for name, text in templates.items() if name != "default"}
    problems = [f"{key}: {found.get(key)!r}, transformers {value!r}" for key, value in wanted.items() if found.get(key) != value]
    # The library of the format reads the folder its own way; they must agree.
    keys = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    for role, name in keys.items():
        if role in vocab.special_token_ids and found.get(f"ggml.{name}_token_id") != vocab.special_token_ids[role]:
            problems.append(f"{role}: {found.get(f'ggml.{name}_token_id')}, the gguf library {vocab.special_token_ids[role]}")
    named = [found.get(f"ggml.{role}_token_id") for role in ("eos", "eot", "eom")]
    if missing := [stop for stop in stops if stop not in named]:
        problems.append(f"the model stops at {stops}, the file names {named}: {missing} missing")
    if not problems and config.model_type in ("llama", "qwen2"):
        ours, theirs = ids_of(source), ids_of(file.parent, gguf_file=file.name)
        problems += [f"transformers reads {b} from the file, {a} from the folder" for a, b in zip(ours, theirs) if a != b]
    return problems


def packed(source, store):
    (manifest,) = [path for path in Path(store).rglob("dataset.json")]
    about = json.loads(manifest.read_text())
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokens = np.fromfile(manifest.parent / about["shards"][0]["bin"]["name"], dtype=np.uint16).tolist()
    texts = [json.loads(line)["text"] for line in (source.parent / "text.jsonl").read_text().splitlines()]
    behind = tokenizer("a").input_ids[-1] == tokenizer.eos_token_id
    for text in texts:
        wanted = tokenizer(text).input_ids + ([] if behind else [tokenizer.eos_token_id])
        if tokens[: len(wanted)] != wanted:
            return [f"{text!r} is packed as {tokens[: len(wanted)]}, transformers and an end give {wanted}"]
        tokens = tokens[len(wanted) :]
    return [f"{len(tokens)} tokens more than the texts have"] if tokens else []


def marks(files):
    rows = [json.loads(file.read_text())[0] for file in files]
    first, problems = rows[0], []
    for file, row in zip(files[1:], rows[1:], strict=True):
        # A file has no word for "no BOS at all": where a tokenizer says so, texts begin after another token than in the folder's exam.
        limit = (2e-3 if file.name.startswith("model.gguf") else 1e-9) * abs(first["log_likelihood"])
        if row["tokens"] != first["tokens"] or abs(row["log_likelihood"] - first["log_likelihood"]) > limit:
            problems.append(f"{file.name}: {row['log_likelihood']} over {row['tokens']} tokens, {files[0].name}: {first['log_likelihood']} over {first['tokens']}")
    return problems


def main():
    match sys.argv[1:]:
        case ["make", out]:
            shutil.rmtree(out, ignore_errors=True)
            make(Path(out))
            return 0
        case ["kept", source, folder]:
            problems = kept(Path(source), Path(folder))
        case ["gguf", source, file]:
            problems = check_gguf(Path(source), Path(file))
        case ["packed", source, store]:
            problems = packed(Path(source), store)
        case ["marks", *files] if len(files) > 1:
            problems = marks([Path(file) for file in files])
        case _:
            sys.exit(__doc__)
    print("ok  " if not problems else "FAIL", *sys.argv[2:], *problems, sep="\n  ")
    return 1 if problems else 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
