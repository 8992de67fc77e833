"""The small model that tests/e2e/golden.rs examines, and what it must score: made with transformers, never with our own code.

usage: make_small_golden.py FOLDER          writes FOLDER/model, FOLDER/questions.jsonl and FOLDER/{letter,cloze}.jsonl
       make_small_golden.py --check FOLDER  exits 1 unless the recorded log-likelihoods are those of the recorded model and questions

A random LLaMA in float32 (grouped heads, weights wide enough that choices differ) with a byte-level BPE of our own sentences. Scored in float64;
only the norms compute in float32, as transformers always does.
"""

import json
import sys
from pathlib import Path

import torch
from lm_rules import prompt_and_choices, read_medmcqa, score
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

# question, four options, position of the right one
QUESTIONS = [
    ("Which organ makes bile?", "Liver", "Spleen", "Pancreas", "Kidney", 0),
    ("A deficiency of which vitamin causes scurvy?", "Vitamin A", "Vitamin B12", "Vitamin C", "Vitamin D", 2),
    ("Which cell carries oxygen in the blood?", "Platelet", "Neutrophil", "Lymphocyte", "Erythrocyte", 3),
    ("The normal body temperature of an adult is about", "35.0 °C", "37 °C", "39.5 °C", "41 °C", 1),
    ("Which nerve moves the diaphragm?", "The vagus nerve", "The phrenic nerve", "The ulnar nerve", "The facial nerve", 1),
    ("Which β-blocker is said to be \"cardioselective\"?", "Propranolol", "Nadolol", "Atenolol", "Timolol", 2),
    ("A patient has a fever.\nHe also has a stiff neck.\nWhat is examined first?", "Urine", "Cerebrospinal fluid", "Sputum", "Bile", 1),
    ("Insulin is made by cells of which type?", "α", "β", "δ", "γ", 1),
    ("Which of these is not a bone of the wrist?", "Lunate", "Hamate", "Cuboid", "Capitate", 2),
    ("Which vessel brings blood from the lungs to the heart?", "Aorta", "Pulmonary artery", "Superior vena cava", "Pulmonary vein", 3),
    (
        "A man of seventy years has had pain in the chest for two hours. It began while he climbed the stairs, spread to the left arm and "
        "the jaw, and did not become less when he rested. He is pale and sweats. His mother died of a stroke at the age of eighty, he has "
        "smoked for fifty years, and he takes a drug for his blood pressure whose name he does not know. Which finding is most likely?",
        "A raised troponin in the blood",
        "A low count of platelets",
        "A stone in the kidney",
        "No finding at all",
        0,
    ),
    ("  Which drug is an antidote to heparin? ", "Protamine", "Vitamin K", "Naloxone", "Atropine", 0),
]
SENTENCES = [
    "The patient has a fever and a pain in the chest.",
    "Which of these drugs is given first, and which is not given at all?",
    "Blood comes from the lungs to the heart, and from the heart to the body.",
    "Question: Choices: Answer: the liver, the kidney, the spleen, the pancreas.",
    "The vitamin, the nerve, the cell and the vessel are normal in this patient.",
]
START = "<s>"
DEVIATION = 1e-6


def tokenizer() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=304, special_tokens=[START], initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(SENTENCES, trainer)
    made.post_processor = processors.TemplateProcessing(single=f"{START} $A", special_tokens=[(START, made.token_to_id(START))])
    return made


def make(folder: Path) -> None:
    model_folder = folder / "model"
    model_folder.mkdir(parents=True)
    made = tokenizer()
    made.save(str(model_folder / "tokenizer.json"))
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": START, "eos_token": START, "add_bos_token": True}
    (model_folder / "tokenizer_config.json").write_text(json.dumps(names, indent=2) + "\n")
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=made.get_vocab_size(), hidden_size=16, intermediate_size=44, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=192, initializer_range=0.3, tie_word_embeddings=False, bos_token_id=0, eos_token_id=0, dtype="float32",
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(model_folder)
    with open(folder / "questions.jsonl", "w") as out:
        for number, (question, *options, gold) in enumerate(QUESTIONS):
            record = {"id": f"own-{number}", "question": question, "cop": gold + 1}
            record |= {f"op{letter}": option for letter, option in zip("abcd", options)}
            out.write(json.dumps(record, ensure_ascii=False) + "\n")
    for protocol, rows in scores(folder).items():
        (folder / f"{protocol}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def scores(folder: Path) -> dict[str, list[dict]]:
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float64).eval()
    encode = AutoTokenizer.from_pretrained(folder / "model").encode
    items = read_medmcqa(folder / "questions.jsonl")
    return {
        protocol: [{"doc_id": number} | score(model, encode, item, protocol) for number, item in enumerate(items)]
        for protocol in ("letter", "cloze")
    }


def check(folder: Path) -> int:
    worst, compared = 0.0, 0
    for protocol, rows in scores(folder).items():
        recorded = [json.loads(line) for line in (folder / f"{protocol}.jsonl").read_text().splitlines()]
        assert len(recorded) == len(rows) == len(QUESTIONS), f"{protocol}: {len(recorded)} recorded, {len(rows)} computed"
        for old, new in zip(recorded, rows):
            worst = max([worst] + [abs(a - b) for a, b in zip(old.pop("lls"), new.pop("lls"), strict=True)])
            assert old == new, f"{protocol}: recorded {old}, computed {new}"
            compared += 1
        items = read_medmcqa(folder / "questions.jsonl")
        assert len({prompt_and_choices(item, protocol)[0] for item in items}) == len(items)
    print(f"{compared} questions, largest difference {worst:.1e}")
    return 0 if worst <= DEVIATION else 1


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--check", folder]:
            sys.exit(check(Path(folder)))
        case [folder]:
            make(Path(folder))
        case _:
            sys.exit(__doc__)
