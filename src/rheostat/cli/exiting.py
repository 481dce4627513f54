"""``exits``: choosing when texts leave a bundle's model early."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from rheostat.cli import heavy
from rheostat.cli.columns import ColumnOptions, given_columns
from rheostat.cli.command import Command
from rheostat.cli.dials import DialOptions, dial_settings
from rheostat.cli.output import Reply, print_note, table
from rheostat.core.errors import SettingError
from rheostat.core.exits import NEVER

__all__ = ["COMMANDS"]


class CriterionName(enum.StrEnum):
    """What is compared with a threshold."""

    CONFIDENCE = "confidence"
    SIMILARITY = "similarity"


@dataclass(frozen=True, kw_only=True)
class ExitOptions(ColumnOptions, DialOptions):
    """Options of ``exits``."""

    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of the bundle.", show_default=False)]
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            metavar="PATH",
            help="The data it was trained on: .parquet, .csv, .jsonl or a saved dataset.",
            show_default=False,
        ),
    ]
    depths: Annotated[
        str,
        typer.Option(metavar="DEPTHS", help="Depths at which a text may leave, such as 2,4.", show_default=False),
    ]
    mean_depth: Annotated[
        float,
        typer.Option(metavar="X", help="Wanted mean depth over the texts, such as 3.5.", show_default=False),
    ]
    criterion: Annotated[
        CriterionName,
        typer.Option(
            metavar="WHICH",
            help="confidence: how sure the model is at a depth; similarity: how little its last block changed.",
        ),
    ] = CriterionName.CONFIDENCE
    split: Annotated[str, typer.Option(metavar="NAME", help="Split to choose on. Choose nothing on test.")] = (
        "validation"
    )
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="How validation is held out; without, the seed of the training."),
    ] = None


def _exits(options: ExitOptions) -> Reply:
    depths = _depths(options.depths)
    bundle = heavy.load_bundle(options.bundle)
    settings = dial_settings(bundle, options)
    trained = bundle.info.training.get("settings", {})
    # Where validation was held out of train, only the seed of the training finds the same rows again.
    seed = options.seed if options.seed is not None else int(trained.get("seed", 0))
    columns = {**trained.get("columns", {}), **given_columns(options)}
    data = heavy.load_data(options.data, bundle.task, columns, seed=seed)
    for note in data.notes:
        print_note(note)
    wanted = {"depths": depths, "mean_depth": options.mean_depth, "criterion": options.criterion.value}
    found, path = heavy.choose_exits(bundle, data, options.split, settings, **wanted)
    rows = [(str(at), "never" if value >= NEVER else f"{value:.4f}") for at, value in found.rule.thresholds.items()]
    told = (
        f"Mean depth {found.mean_depth:.2f} of {found.blocks} blocks on {found.data['rows']} of {options.split}; "
        f"{found.target:g} was wanted."
    )
    shown = (table("", (">depth", f">leaves from {found.rule.criterion}"), rows), told, f"Written: {path}")
    return Reply({"bundle": str(options.bundle), "exits": found.to_json(), "files": [path], "notes": data.notes}, shown)


def _depths(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError as error:
        raise SettingError(
            "--depths takes whole numbers with commas between.",
            given=repr(text),
            mend="Write for instance --depths 2,4.",
        ) from error


COMMANDS: Sequence[Command] = (
    Command(
        name="exits",
        run=_exits,
        options=ExitOptions,
        summary="Choose when texts leave a bundle's model early, for a wanted mean depth, and write it to the bundle. "
        "After that, predict --exits and generate --exits work.",
        examples=(
            "rheostat exits bundles/spam --data spam.parquet --depths 2,4 --mean-depth 3",
            "rheostat exits bundles/spam --data spam.parquet --depths 1,2,3,4,5 --mean-depth 4 --criterion similarity",
        ),
        panel="Make",
    ),
)
