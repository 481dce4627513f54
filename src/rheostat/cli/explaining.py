"""``explain``: which tokens of a text went on through which block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rheostat.cli import heavy
from rheostat.cli.command import Command
from rheostat.cli.dials import DialOptions, dial_settings, settings_words
from rheostat.cli.output import Reply
from rheostat.core.errors import DataError
from rheostat.report.page import Example, ReportData, write_report
from rheostat.report.survivors import kept_shares, survivors_map_text, survivors_picture, survivors_text

if TYPE_CHECKING:
    from rheostat.bundle import Bundle

__all__ = ["COMMANDS"]

_DEFAULT = {"tokens": 0.7}


@dataclass(frozen=True, kw_only=True)
class ExplainOptions(DialOptions):
    """Options of ``explain``."""

    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of the bundle.", show_default=False)]
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The text to look at.", show_default=False)]
    picture: Annotated[
        Path | None,
        typer.Option("--picture", metavar="PATH", help="Draw the map of survivors as a PNG here."),
    ] = None
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", metavar="PATH", help="Write a report page here: this text, and what calibrate measured."
        ),
    ] = None


def _explain(options: ExplainOptions) -> Reply:
    if not options.text.strip():
        raise DataError("A text has at least one letter.", given="an empty one", mend="Write the text to look at.")
    bundle = heavy.load_bundle(options.bundle)
    settings = dial_settings(bundle, options) or dict(_DEFAULT)
    example = _example(bundle, options.text, settings)
    _write_files(bundle, example, options)
    data = {
        "bundle": str(options.bundle),
        "settings": settings,
        "answer": example.answer or None,
        "tokens": list(example.tokens),
        "survivors": [list(kept) for kept in example.survivors],
        "kept": kept_shares(len(example.tokens), example.survivors),
        "files": [path for path in (options.picture, options.html) if path is not None],
    }
    return Reply(data, _shown(example, options))


def _example(bundle: Bundle, text: str, settings: dict[str, float]) -> Example:
    answer, ids = "", heavy.encoded_text(bundle, text)
    if bundle.task == "classification":
        said = heavy.predict(bundle, [text], None, settings)[0]
        answer = f"{said.label} ({said.probability:.0%})"
    else:
        heavy.run_once(bundle, ids, settings)
    return Example(
        tokens=bundle.tokenizer.convert_ids_to_tokens(ids),
        survivors=[rows[0] for rows in bundle.handle.survivors()],
        setting=settings_words(settings),
        answer=answer,
        special=frozenset(bundle.tokenizer.all_special_tokens),
    )


def _write_files(bundle: Bundle, example: Example, options: ExplainOptions) -> None:
    if options.picture is not None:
        survivors_picture(
            example.tokens, example.survivors, options.picture, f"Tokens that went on, at {example.setting}"
        )
    if options.html is not None:
        rerun = (f"rheostat explain {options.bundle} TEXT --html {options.html}",)
        title = f"{options.bundle.resolve().name}: speed and quality"
        write_report(options.html, ReportData(title, bundle.profile, example, notes=bundle.info.notes, rerun=rerun))


def _shown(example: Example, options: ExplainOptions) -> Sequence[Any]:
    length = len(example.tokens)
    head = f"{length} tokens at {example.setting}" + (f": {example.answer}" if example.answer else "")
    files = [f"Written: {path}" for path in (options.picture, options.html) if path is not None]
    return (
        head,
        "",
        survivors_text(example.tokens, example.survivors, example.special),
        "",
        survivors_map_text(length, example.survivors),
        *files,
    )


COMMANDS = (
    Command(
        name="explain",
        run=_explain,
        options=ExplainOptions,
        summary="Show which tokens of a text went on through which block. Without --speed or --set, tokens is 0.7.",
        examples=(
            'rheostat explain bundles/spam "You have won a prize" --set tokens=0.5',
            'rheostat explain bundles/spam "You have won a prize" --picture map.png --html report.html',
        ),
        panel="Look",
    ),
)
