"""``predict`` and ``generate``: running a bundle at any speed."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rheostat.cli import heavy
from rheostat.cli.command import Command
from rheostat.cli.dials import DialOptions, dial_settings, settings_words
from rheostat.cli.output import Reply, plain, print_note, table
from rheostat.core.errors import DataError, SettingError
from rheostat.core.files import write_atomically

if TYPE_CHECKING:
    from rheostat.bundle import Bundle

__all__ = ["COMMANDS"]

_MOST_LETTERS = 72


@dataclass(frozen=True, kw_only=True)
class PredictOptions(DialOptions):
    """Options of ``predict``."""

    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of the bundle.", show_default=False)]
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT", help="Texts to classify; without any, lines of stdin."),
    ] = None
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="PATH", help="Texts from a .txt (one a line), .jsonl, .csv or .parquet file."),
    ] = None
    text_column: Annotated[str, typer.Option(metavar="NAME", help="Column of the texts in --file.")] = "text"
    pair_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Column of the second text, for tasks on pairs.")
    ] = None
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, help="Texts in one forward.")] = 16
    exits: Annotated[
        bool, typer.Option("--exits", help="Let each text leave the model early; needs rheostat exits.")
    ] = False
    out: Annotated[Path | None, typer.Option("--out", metavar="PATH", help="Write one JSON line a text here.")] = None


@dataclass(frozen=True, kw_only=True)
class GenerateOptions(DialOptions):
    """Options of ``generate``."""

    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of the bundle.", show_default=False)]
    prompt: Annotated[
        str,
        typer.Argument(metavar="PROMPT", help="Text to continue; - reads it from stdin.", show_default=False),
    ]
    max_new_tokens: Annotated[int, typer.Option(metavar="N", min=1, help="Most tokens that are written.")] = 64
    temperature: Annotated[
        float,
        typer.Option(
            metavar="X",
            min=0.0,
            help="0 takes the likeliest token; above, tokens are drawn.",
            show_default=True,
        ),
    ] = 0.0
    seed: Annotated[int, typer.Option(metavar="N", help="Seed for drawing.")] = 0
    exits: Annotated[
        bool,
        typer.Option("--exits", help="Let each token leave the model early; needs rheostat exits. At temperature 0."),
    ] = False
    draft_depth: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Let the first N blocks draft and all verify: the same text as without, at another speed. "
            "At temperature 0.",
        ),
    ] = None


def _predict(options: PredictOptions) -> Reply:
    texts, pairs = _texts(options)
    bundle = heavy.load_bundle(options.bundle)
    settings = dial_settings(bundle, options)
    start = time.perf_counter()
    exits = {"exits": True} if options.exits else {}
    found = heavy.predict(bundle, texts, pairs, settings, batch_size=options.batch_size, **exits)
    seconds = time.perf_counter() - start
    rows = [{"text": text, **plain(prediction)} for text, prediction in zip(texts, found, strict=True)]
    data: dict[str, Any] = {"bundle": str(options.bundle), "settings": settings, "seconds": seconds}
    summary = f"{len(rows)} texts in {seconds:.2f} s ({settings_words(settings)})"
    if options.exits:
        data["mean_depth"] = fmean(prediction.depth or 0 for prediction in found)
        summary += f", mean depth {data['mean_depth']:.2f}"
    if options.out is not None:
        write_atomically(options.out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return Reply({**data, "out": str(options.out), "rows": len(rows)}, (f"{summary}, written to {options.out}",))
    names = ("label", ">probability", *([">depth"] if options.exits else []), "text")
    depths = [[str(row["depth"])] if options.exits else [] for row in rows]
    cells = [
        (row["label"], f"{row['probability']:.1%}", *depth, _short(row["text"]))
        for row, depth in zip(rows, depths, strict=True)
    ]
    return Reply({**data, "predictions": rows}, (table("", names, cells), summary))


def _generate(options: GenerateOptions) -> Reply:
    prompt = sys.stdin.read() if options.prompt == "-" else options.prompt
    if not prompt:
        raise DataError("A prompt has at least one letter.", given="an empty one", mend="Write a text to continue.")
    bundle = heavy.load_bundle(options.bundle)
    settings = dial_settings(bundle, options)
    if options.exits or options.draft_depth is not None:
        return _decoded(options, bundle, prompt, settings)
    # Said in either case: the model's own configuration may ask for drawing.
    more: dict[str, Any] = {"do_sample": False}
    if options.temperature > 0:
        heavy.set_seed(options.seed)
        more = {"do_sample": True, "temperature": options.temperature}
    if not options.json:
        more["streamer"] = heavy.text_streamer(bundle.tokenizer)
    start = time.perf_counter()
    text = bundle.generate(prompt, max_new_tokens=options.max_new_tokens, **settings, **more)
    seconds = time.perf_counter() - start
    data = {
        "bundle": str(options.bundle),
        "settings": settings,
        "prompt": prompt,
        "text": text,
        "seconds": seconds,
    }
    return Reply(data, ())


def _decoded(options: GenerateOptions, bundle: Bundle, prompt: str, settings: Mapping[str, float]) -> Reply:
    if options.temperature > 0:
        raise SettingError(
            "Exits and drafts write the likeliest token.",
            given=f"--temperature {options.temperature:g}",
            mend="Leave --temperature out.",
        )
    # Temperature 0 overrules what the model's own configuration says about drawing.
    how: dict[str, Any] = {"exits": options.exits, "draft_depth": options.draft_depth, "do_sample": False, **settings}
    start = time.perf_counter()
    found = bundle.decode(prompt, max_new_tokens=options.max_new_tokens, **how)
    seconds = time.perf_counter() - start
    told = f"mean depth {found.mean_depth:.2f}" if found.mean_depth is not None else ""
    told = f"{found.acceptance:.0%} of what was drafted was kept" if found.acceptance is not None else told
    print_note(f"{found.tokens} tokens in {seconds:.2f} s, {told}.")
    data = {"bundle": str(options.bundle), "settings": settings, "prompt": prompt, **plain(found), "seconds": seconds}
    return Reply(data, (found.text,))


def _texts(options: PredictOptions) -> tuple[list[str], list[str] | None]:
    if options.file is not None and options.texts:
        raise SettingError(
            "Texts come from the command line or from --file.", given="both", mend="Leave one of them out."
        )
    if options.file is not None:
        return _texts_of_file(options.file, options)
    if options.pair_column is not None:
        raise SettingError("A column of pairs is one of --file.", given="--pair-column alone", mend="Give --file.")
    texts = list(options.texts or ()) or _lines(sys.stdin.read() if not sys.stdin.isatty() else "")
    if not texts:
        raise DataError(
            "There is at least one text to classify.", given="none", mend="Give texts, or a file with --file."
        )
    return texts, None


def _texts_of_file(path: Path, options: PredictOptions) -> tuple[list[str], list[str] | None]:
    if path.suffix.lower() == ".txt":
        try:
            return _lines(path.read_text(encoding="utf-8")), None
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                "A text file can be read as UTF-8.",
                given=f"{path} ({error})",
                mend="Mend the path or the file.",
            ) from error
    table_of_file = heavy.read_table(path)
    pairs = None if options.pair_column is None else table_of_file.column(options.pair_column)
    return table_of_file.column(options.text_column), pairs


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _short(text: str) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= _MOST_LETTERS else one_line[: _MOST_LETTERS - 1] + "…"


COMMANDS: Sequence[Command] = (
    Command(
        name="predict",
        run=_predict,
        options=PredictOptions,
        summary="Classify texts with a bundle, at the speed you choose.",
        examples=(
            'rheostat predict bundles/spam "You have won a prize" --set tokens=0.5',
            "rheostat predict bundles/spam --file mails.parquet --exits",
            "rheostat predict bundles/spam --file mails.parquet --speed 3 --out labels.jsonl",
        ),
        panel="Run",
    ),
    Command(
        name="generate",
        run=_generate,
        options=GenerateOptions,
        summary="Continue a prompt with a bundle: the prompt is read at the speed you choose, "
        "and new text is shown as it comes.",
        examples=(
            'rheostat generate bundles/prose "Call me" --set tokens=0.8 --max-new-tokens 32',
            'rheostat generate bundles/prose "Call me" --draft-depth 6',
        ),
        panel="Run",
    ),
)
