"""Loads what our binaries wrote as its users would: Hugging Face folders, compressed-tensors folders, GGUF files."""

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM


def load(path: Path, full: Path, dtype=torch.float32):
    """The model, and what transformers found missing, unexpected or misshapen (empty if nothing). `full` is the uncompressed folder."""
    options = {"dtype": dtype, "output_loading_info": True}
    if path.is_file():
        # transformers does not take a GPT-2's sizes from a GGUF file; a LLaMA's it does, so there the file must say them.
        config = AutoConfig.from_pretrained(full)
        options |= {"gguf_file": path.name} | ({"config": config} if config.model_type == "gpt2" else {})
        path = path.parent
    kind = AutoModelForMaskedLM if AutoConfig.from_pretrained(full).model_type == "bert" else AutoModelForCausalLM
    model, report = kind.from_pretrained(path, **options)
    return model.eval(), {key: value for key, value in report.items() if value}
