"""A bert that a run trained, as its users meet it: tokenizer, masks, loss and exported folders are what transformers makes of them.

1. Every token of the packed corpora is the one that BertTokenizerFast, loaded from the exported folder, gives for the documents.
2. The loss of the last stage's first step is transformers' loss of the model that the stage before exported, on the samples and masks that
   the second implementations name (order_vectors.py, mask_vectors.py).
3. The last model guesses hidden tokens of DOCUMENTS: a blind guess costs the logarithm of the vocabulary, of which it saves MARGIN nats, and a
   token that is shown it knows better than one that is hidden.

usage: check_masked.py STORE/runs/RUN FIRST LAST DOCUMENTS.jsonl    FIRST and LAST the stages' exported folders
"""

import json
import math
import struct
import sys
from pathlib import Path

import torch
from mask_vectors import CONTINUATION, SPECIAL, START, Draws, mask
from models import load
from order_vectors import sample
from transformers import AutoTokenizer, BertTokenizerFast

MARGIN = 1.5
LIMIT = 2e-5


class Run:
    """What a run left in its store."""

    def __init__(self, folder: Path):
        self.store = folder.parent.parent
        self.record = json.loads(max((folder / "state").glob("*.json")).read_text())
        self.spec = self.record["spec"]

    def outputs(self, job: str) -> dict[str, Path]:
        return {name: self.store / output["path"] for name, output in self.record["jobs"][job]["status"]["result"]["outputs"].items()}

    def documents(self, corpus: str) -> list[list[str]]:
        """By chunk."""
        chunks = sorted((name, path) for name, path in self.outputs(f"merge/{corpus}").items() if name.startswith("train-"))
        return [[json.loads(line)["text"] for line in path.read_text().splitlines()] for _, path in chunks]

    def shards(self, corpus: str, length: int) -> tuple[dict, list[list[int]]]:
        files = self.outputs(f"pack/{corpus}/{length}")
        manifest = json.loads(files["dataset.json"].read_text())
        assert manifest["token_type"] == "u16", manifest["token_type"]
        read = [files[shard["bin"]["name"]].read_bytes() for shard in manifest["shards"]]
        return manifest, [list(struct.unpack(f"<{len(data) // 2}H", data)) for data in read]

    def first_loss(self, stage: str) -> float:
        first = self.record["checkpoints"][stage][0]["manifest"]["path"]
        step = json.loads((self.store / first).read_text())["ledger"][0]
        assert step["step"] == 0
        return step["loss"]


def same_tokens(run: Run, tokenizer) -> str | None:
    stage, tokens = run.spec["stages"][-1], 0
    for corpus in stage["mixture"]:
        _, shards = run.shards(corpus, stage["sequence_length"])
        chunks = run.documents(corpus)
        assert len(chunks) == len(shards)
        for texts, found in zip(chunks, shards):
            wanted = [token for text in texts for token in tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.sep_token_id]]
            tokens += len(found)
            if wanted != found:
                place = next((i for i, pair in enumerate(zip(wanted, found)) if pair[0] != pair[1]), min(len(wanted), len(found)))
                return f"{corpus}: token {place} differs: {found[place:place + 8]}, transformers has {wanted[place:place + 8]}"
    print(f"ok   {tokens} packed tokens are BertTokenizerFast's")
    return None if tokens > 1000 else f"only {tokens} tokens were compared"


def same_loss(run: Run, tokenizer, first: Path) -> str | None:
    stage = run.spec["stages"][-1]
    length, batch = stage["sequence_length"], stage["global_batch"]
    components, rows = [], []
    for corpus, parts in sorted(stage["mixture"].items()):
        manifest, shards = run.shards(corpus, length)
        frame, stride = manifest["frame"], length - 2
        windows = [shard[i:i + stride] for shard in shards for i in range(0, len(shard) - stride + 1, stride)]
        assert len(windows) == manifest["sequences"]
        components.append((corpus, len(windows), parts, bytes.fromhex(manifest["fingerprint"])))
        rows.append([[frame["begin"], *window, frame["end"]] for window in windows])
    spelled = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    kinds = [SPECIAL if i in tokenizer.all_special_ids else CONTINUATION if token.startswith("##") else START for token, i in spelled]
    model, unclean = load(first, first)
    if unclean:
        return f"{first}: {unclean}"
    costs = []
    for slot in range(batch):
        component, _, sequence = sample(run.spec["seed"], stage["name"], batch, components, 0, slot)
        row = rows[component][sequence]
        draws = Draws(run.spec["seed"], stage["name"], 0, slot)
        seen = mask(draws, row, kinds, tokenizer.mask_token_id, stage["mlm"]["probability"], stage["mlm"]["whole_word"])
        with torch.no_grad():
            logs = model(torch.tensor([[seen.get(i, token) for i, token in enumerate(row)]])).logits[0].log_softmax(-1)
        costs += [-logs[place, row[place]].item() for place in seen]
    theirs, ours = sum(costs) / len(costs), run.first_loss(stage["name"])
    print(f"{'ok  ' if abs(theirs - ours) < LIMIT else 'FAIL'} first loss of {stage['name']}: {ours:.7f}, transformers {theirs:.7f}, n {len(costs)}")
    return None if abs(theirs - ours) < LIMIT else "the losses differ"


def learned(tokenizer, last: Path, documents: Path) -> str | None:
    model, unclean = load(last, last)
    length = model.config.max_position_embeddings
    texts = [json.loads(line)["text"] for line in documents.read_text().splitlines()][:200]
    hidden_cost, shown_cost, n = 0.0, 0.0, 0
    for i, text in enumerate(texts):
        row = tokenizer(text)["input_ids"][:length]
        assert row[0] == tokenizer.cls_token_id
        places = range(1 + i % 7, len(row) - 1, 7)
        shown = torch.tensor([row])
        hidden = shown.clone()
        hidden[0, list(places)] = tokenizer.mask_token_id
        with torch.no_grad():
            logs = model(torch.cat([hidden, shown])).logits.log_softmax(-1)
        for place in places:
            hidden_cost -= logs[0, place, row[place]].item()
            shown_cost -= logs[1, place, row[place]].item()
            n += 1
    blind = math.log(model.config.vocab_size)
    good = not unclean and n > 100 and hidden_cost / n < blind - MARGIN and shown_cost < hidden_cost
    told = f"{hidden_cost / n:.3f} nats a hidden token, {shown_cost / n:.3f} a shown one, {blind:.3f} blindly, n {n}"
    print(f"{'ok  ' if good else 'FAIL'} {last}: {told} {unclean or ''}")
    return None if good else "it has not learned"


def main(folder: Path, first: Path, last: Path, documents: Path) -> int:
    run, tokenizer = Run(folder), BertTokenizerFast.from_pretrained(last)
    config = json.loads((last / "config.json").read_text())
    assert config["pad_token_id"] == tokenizer.pad_token_id and tokenizer.mask_token_id is not None
    # Whoever does not name a class gets the same tokenizer.
    text = "Na\u00efve T-cells (CD4+) [MASK]."
    assert AutoTokenizer.from_pretrained(last)(text) == tokenizer(text), "AutoTokenizer differs from BertTokenizerFast"
    problems = [same_tokens(run, tokenizer), same_loss(run, tokenizer, first), learned(tokenizer, last, documents)]
    for problem in filter(None, problems):
        print(f"FAIL {problem}")
    return 1 if any(problems) else 0


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    sys.exit(main(*map(Path, sys.argv[1:])))
