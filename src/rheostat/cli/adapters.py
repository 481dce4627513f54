"""The options that say which weights are trained."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from rheostat.cli.command import JsonOption

__all__ = ["AdapterName", "AdapterOptions", "MaskName", "given_trainable"]


class AdapterName(enum.StrEnum):
    """What is trained."""

    FULL = "full"
    LORA = "lora"
    RSLORA = "rslora"
    DORA = "dora"
    QLORA = "qlora"
    SHIRA = "shira"
    LAST_K = "last-k"
    FROZEN = "frozen"


class MaskName(enum.StrEnum):
    """How SHiRA chooses the entries that it trains."""

    STRUCTURAL = "structural"
    RANDOM = "random"
    WEIGHT = "weight"
    GRADIENT = "gradient"
    SNIP = "snip"


@dataclass(frozen=True, kw_only=True)
class AdapterOptions(JsonOption):
    """Options of the commands that train."""

    adapter: Annotated[
        AdapterName | None,
        typer.Option(
            metavar="KIND",
            help="What is trained: full, lora, rslora, dora, qlora, shira, last-k or frozen (the head alone).",
        ),
    ] = None
    rank: Annotated[int | None, typer.Option(metavar="N", help="Rank of lora and its relatives; without, 8.")] = None
    mask: Annotated[
        MaskName | None,
        typer.Option(
            metavar="NAME",
            help="Entries that shira trains: structural, random, weight, gradient or snip (default).",
        ),
    ] = None
    share: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Share of each matrix that shira trains, at most 0.02, the default."),
    ] = None
    last_blocks: Annotated[
        int | None, typer.Option(metavar="N", help="Blocks that last-k trains; without, the last one.")
    ] = None


def given_trainable(options: AdapterOptions) -> dict[str, Any] | None:
    """Return what is trained, as `rheostat.train.adapters.Trainable` reads it; None where nothing was said."""
    named = {
        "kind": None if options.adapter is None else options.adapter.value,
        "rank": options.rank,
        "mask": None if options.mask is None else options.mask.value,
        "share": options.share,
        "blocks": options.last_blocks,
    }
    return {name: value for name, value in named.items() if value is not None} or None
