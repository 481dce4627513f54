"""``report``: the page of a folder that rheostat wrote: of a search, or of measurements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from rheostat.cli.command import Command, JsonOption
from rheostat.cli.output import Reply
from rheostat.core.errors import DataError, StudyError
from rheostat.core.measurement import FILE as MEASUREMENTS
from rheostat.core.measurement import read_measurements
from rheostat.core.result import RESULT, read_result
from rheostat.report.leaderboard import write_leaderboard
from rheostat.report.optimisation import write_optimisation
from rheostat.report.optimisation_sentences import summary
from rheostat.report.optimisation_study import StudyData
from rheostat.search.database import FILE as STUDY
from rheostat.search.described import described
from rheostat.search.study import Study

__all__ = ["COMMANDS", "study_data"]

PAGE = "report.html"
_SCENARIO = "scenario.json"


@dataclass(frozen=True, kw_only=True)
class ReportOptions(JsonOption):
    """Options of ``report``."""

    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What optimize or bench wrote.", show_default=False)]
    out: Annotated[
        Path | None, typer.Option("--out", metavar="PATH", help="The page; without it, report.html in the folder.")
    ] = None


def study_data(folder: Path) -> StudyData:
    """Read a study's folder for its page; whoever searches in it is not disturbed.

    Raises:
        StudyError: If there is no study, it is damaged, or nothing was measured yet.
    """
    with Study(folder) as study:
        space, goals = described(study)
        trials, scenario, digest = study.trials(), study.scenario, study.digest
    result = read_result(folder)
    if result is None or not trials:
        raise StudyError(
            "A study has a page once something was measured.",
            given=f"{folder} without {RESULT}",
            mend="Run rheostat optimize, and try again when it has shown its first trial.",
        )
    source = folder / _SCENARIO
    rerun = [f"rheostat optimize {source} --out {folder}-again"] if source.exists() else []
    return StudyData(
        title=_title(scenario, folder),
        space=space,
        goals=goals,
        trials=trials,
        result=result,
        scenario=scenario,
        facts={"Study": {"folder": str(folder), "hash of the scenario and of its data": digest}},
        rerun=(*rerun, f"rheostat report {folder}"),
    )


def _report(options: ReportOptions) -> Reply:
    target = options.out or options.folder / PAGE
    if (options.folder / STUDY).is_file():
        study = study_data(options.folder)
        write_optimisation(target, study)
        said = summary(study)
        data = {"page": target, "kind": "study", "status": study.result.status, "said": said}
        return Reply(data, (*said, f"Written: {target}"))
    if (options.folder / MEASUREMENTS).is_file():
        rows = read_measurements(options.folder)
        write_leaderboard(target, rows, title=options.folder.resolve().name)
        return Reply({"page": target, "kind": "measurements", "rows": len(rows)}, (f"Written: {target}",))
    raise DataError(
        "A report is made of a folder that rheostat optimize or rheostat bench wrote.",
        given=f"{options.folder} without {STUDY} and without {MEASUREMENTS}",
        mend="For a text and its tokens, or a calibrated bundle, see rheostat explain --html and calibrate --html.",
    )


def _title(scenario: Mapping[str, Any], folder: Path) -> str:
    model, data = scenario.get("model"), scenario.get("data")
    data = data.get("path") if isinstance(data, Mapping) else data
    parts = [Path(str(one)).name for one in (model, data) if one]
    return f"{' on '.join(parts) or folder.resolve().name}: the best combination"


COMMANDS = (
    Command(
        name="report",
        run=_report,
        options=ReportOptions,
        summary="Write the page of a search or of measurements, to look at without a network.",
        examples=("rheostat report study", "rheostat report bench --out leaderboard.html"),
        panel="Look",
    ),
)
