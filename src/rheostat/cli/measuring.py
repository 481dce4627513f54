"""``calibrate``: measuring a bundle on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rheostat.cli import heavy
from rheostat.cli.columns import ColumnOptions, given_columns
from rheostat.cli.command import Command
from rheostat.cli.output import Reply, print_note, table
from rheostat.cli.progress import Step, progress_bar
from rheostat.core.errors import SettingError
from rheostat.core.profile import Point, Profile
from rheostat.report.page import ReportData, write_report
from rheostat.report.sentences import baseline_warning, headline
from rheostat.report.wording import (
    metric_name,
    metric_of,
    quality_text,
    seconds_text,
    settings_text,
    speedup_text,
)

if TYPE_CHECKING:
    from rheostat.bundle import Bundle
    from rheostat.measure.calibrate import Progress

__all__ = ["COMMANDS"]


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions(ColumnOptions):
    """Options of ``calibrate``."""

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
    grid: Annotated[
        str | None,
        typer.Option(
            metavar="RATES",
            help="Settings of the dial tokens to measure, such as 1,0.8,0.5; without, 15 of them.",
        ),
    ] = None
    depths: Annotated[
        str | None,
        typer.Option(
            metavar="DEPTHS",
            help="Settings of the dial depth to measure the grid at, too, such as 4,2; without, the token dial alone.",
        ),
    ] = None
    cascades: Annotated[
        str | None,
        typer.Option(
            metavar="PROBABILITIES",
            help="Settings of a classifier's dial cascade to measure the grid at, such as 0.8,0.95; without, none.",
        ),
    ] = None
    words: Annotated[
        float | None,
        typer.Option(
            metavar="TIMES",
            min=0.0,
            max=4.0,
            help="Setting of a classifier's dial words to measure everything at, such as 1; without, 0.",
        ),
    ] = None
    split: Annotated[str, typer.Option(metavar="NAME", help="Split to measure on. Choose nothing on test.")] = (
        "validation"
    )
    pairs: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Timed pairs for each setting; more narrow the interval."),
    ] = None
    batch_size: Annotated[int | None, typer.Option(metavar="N", min=1, help="Texts in one forward.")] = None
    timing_texts: Annotated[int | None, typer.Option(metavar="N", min=1, help="Texts that are timed.")] = None
    quality_texts: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Texts that quality is judged on; without, all.")
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="Which texts are chosen; without, the seed of the training."),
    ] = None
    resume: Annotated[bool, typer.Option(help="Go on from an interrupted calibration like this one.")] = True
    html: Annotated[Path | None, typer.Option("--html", metavar="PATH", help="Write a report page here as well.")] = (
        None
    )


def _calibrate(options: CalibrateOptions) -> Reply:
    given = _given(options)
    bundle = heavy.load_bundle(options.bundle)
    trained = bundle.info.training.get("settings", {})
    # Where validation was held out of train, only the seed of the training finds the same rows again.
    seed = options.seed if options.seed is not None else int(trained.get("seed", 0))
    columns = {**trained.get("columns", {}), **given_columns(options)}
    data = heavy.load_data(options.data, bundle.task, columns, seed=seed)
    for note in data.notes:
        print_note(note)
    with progress_bar("calibrating") as show:
        profile = heavy.calibrate(bundle, data, {**given, "seed": seed}, progress=_relay(show), resume=options.resume)
    if options.html is not None:
        write_report(options.html, _report(bundle, profile, options, data.notes))
    files = [options.bundle / "profile.json", *([options.html] if options.html is not None else [])]
    data_shown = {
        "bundle": str(options.bundle),
        "files": files,
        "notes": data.notes,
        "profile": profile.to_json(),
    }
    return Reply(data_shown, _shown(profile, files))


def _given(options: CalibrateOptions) -> dict[str, Any]:
    """Return the settings that were given; the others keep their defaults."""
    names = ("words", "pairs", "batch_size", "timing_texts", "quality_texts")
    numbers = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    lists: dict[str, Any] = {}
    if options.grid is not None:
        lists["grid"] = _numbers("--grid", options.grid, float, "1,0.8,0.5")
    if options.depths is not None:
        lists["depths"] = _numbers("--depths", options.depths, int, "4,2")
    if options.cascades is not None:
        lists["cascades"] = _numbers("--cascades", options.cascades, float, "0.8,0.95")
    return {"split": options.split, **numbers, **lists}


def _numbers(option: str, text: str, kind: type[float] | type[int], example: str) -> tuple[float, ...]:
    try:
        return tuple(kind(number) for number in text.split(","))
    except ValueError as error:
        raise SettingError(
            f"{option} takes numbers with commas between.",
            given=repr(text),
            mend=f"Write for instance {option} {example}.",
        ) from error


def _relay(show: Callable[[Step], None]) -> Callable[[Progress], None]:
    def relay(progress: Progress) -> None:
        point = progress.point
        remark = "" if point is None else f"{settings_text(point)}: {speedup_text(point)}"
        show(Step(progress.done, progress.total, progress.seconds_left, remark))

    return relay


def _report(bundle: Bundle, profile: Profile, options: CalibrateOptions, notes: Sequence[str]) -> ReportData:
    rerun = f"rheostat calibrate {options.bundle} --data {options.data} --split {options.split}"
    for name in ("grid", "depths", "cascades", "words"):
        given = getattr(options, name)
        rerun += f" --{name} {given}" if given is not None else ""
    title = f"{options.bundle.resolve().name}: speed and quality"
    return ReportData(title, profile, notes=tuple(dict.fromkeys((*bundle.info.notes, *notes))), rerun=(rerun,))


def _shown(profile: Profile, files: Sequence[Path]) -> Sequence[Any]:
    metrics = [metric_of(profile)] if metric_of(profile) else []
    columns = (
        "setting",
        ">speed-up (95 % interval)",
        ">time",
        ">counted work",
        *(f">{metric_name(m)}" for m in metrics),
    )
    points = [_row(point, metrics) for point in profile.points]
    simple = [
        (f"{name} model", "", "", "", *(quality_text(metric, values.get(metric)) for metric in metrics))
        for name, values in profile.baselines.items()
    ]
    warning = baseline_warning(profile)
    return (
        table("", columns, [*points, *simple]),
        headline(profile),
        *([warning] if warning else []),
        *(f"Written: {path}" for path in files),
    )


def _row(point: Point, metrics: Sequence[str]) -> tuple[str, ...]:
    quality = (quality_text(metric, point.quality.get(metric)) for metric in metrics)
    return (
        settings_text(point),
        speedup_text(point),
        seconds_text(point.seconds),
        f"{point.macs_ratio:.2f}x",
        *quality,
    )


COMMANDS = (
    Command(
        name="calibrate",
        run=_calibrate,
        options=CalibrateOptions,
        summary="Measure speed and quality of a bundle over its dial on this machine, and write its profile. "
        "After that, --speed works.",
        examples=(
            "rheostat calibrate bundles/spam --data spam.parquet",
            "rheostat calibrate bundles/spam --data spam.parquet --grid 1,0.8,0.5,0.2 --html report.html",
        ),
        panel="Make",
        resume="What was measured is kept: run the same command again to go on.",
    ),
)
