"""The options that name the columns of a data file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from rheostat.cli.command import JsonOption

__all__ = ["ColumnOptions", "given_columns"]


@dataclass(frozen=True, kw_only=True)
class ColumnOptions(JsonOption):
    """Options of the commands that read data."""

    text_column: Annotated[str | None, typer.Option(metavar="NAME", help="Column of the texts; without, text.")] = None
    pair_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column of the second text, for tasks on pairs; without, text_pair."),
    ] = None
    label_column: Annotated[str | None, typer.Option(metavar="NAME", help="Column of the classes; without, label.")] = (
        None
    )
    split_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column that says train, validation or test; without, split."),
    ] = None
    prompt_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="For causal-lm, column of the prompts; without, prompt.")
    ] = None
    answer_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="For causal-lm, column of the answers; without, answer.")
    ] = None
    messages_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="For causal-lm, column of the chats; without, messages.")
    ] = None


def given_columns(options: ColumnOptions) -> dict[str, str]:
    """Return the columns that were named, under the names of `rheostat.train.data.Columns`."""
    named = {
        "text": options.text_column,
        "text_pair": options.pair_column,
        "label": options.label_column,
        "split": options.split_column,
        "prompt": options.prompt_column,
        "answer": options.answer_column,
        "messages": options.messages_column,
    }
    return {name: column for name, column in named.items() if column is not None}
