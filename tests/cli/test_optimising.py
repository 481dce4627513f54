from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from rheostat.cli import heavy
from rheostat.cli.searching import search_display
from rheostat.core.errors import StudyError
from rheostat.core.goals import Goals, Limit
from rheostat.core.result import Result as Found
from rheostat.search.loop import Progress, search
from rheostat.search.optimise import export_trial
from tests.search.synthetic import GOALS, Synthetic, problem

Run = Callable[..., Result]


@dataclass
class Player:
    """Searches without models, in place of the real thing."""

    folder: Path
    evaluator: Synthetic
    changes: dict[str, Any] = field(default_factory=dict)
    seen: list[Any] = field(default_factory=list)

    def optimise(self, scenario: Any, folder: Path, *, progress: Callable[[Progress], None], after: Any) -> Found:
        self.seen.append((scenario, after))
        about = problem(scenario=scenario.to_json(), digest=scenario.digest, **self.changes)
        return search(about, folder, self.evaluator, progress=progress, clock=self.evaluator.clock)


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Player:
    (tmp_path / "d.csv").write_text("text,label\na,1\n")
    player = Player(tmp_path, Synthetic(tmp_path / "study" / "trainings"), {"budget": 300.0})
    monkeypatch.setattr(heavy, "optimise", player.optimise)
    return player


def arguments(folder: Path, *more: str) -> list[str]:
    return ["optimize", "--model", "m", "--data", str(folder / "d.csv"), "--out", str(folder / "study"), *more]


def test_machines_get_the_whole_result(run_json: Callable[..., Any], played: Player, tmp_path: Path) -> None:
    data = run_json(*arguments(tmp_path))

    wanted = {"status", "recommended", "front", "baseline", "cheap_baselines", "binding", "trials", "seconds"}
    assert wanted <= set(data)
    assert data["status"] == "ok"
    assert {"configuration", "metrics", "bundle"} <= set(data["recommended"])
    assert Path(data["report"]).read_text().startswith("<!DOCTYPE html>")
    assert data["recommended"]["metrics"]["latency_p95"].keys() >= {"value", "low", "high", "provenance"}


def test_people_see_the_recommendation_why_and_where(run: Run, played: Player, tmp_path: Path) -> None:
    shown = run(*arguments(tmp_path), env={"COLUMNS": "200"})

    assert shown.exit_code == 0
    assert "Recommended: recipe=" in shown.stdout
    assert "Front" in shown.stdout
    assert f"Bundle: {tmp_path}/study/recommended" in shown.stdout
    assert f"rheostat calibrate {tmp_path}/study/recommended --data" in shown.stdout
    assert f"Report: {tmp_path}/study/report.html" in shown.stdout
    assert "measuring the default, 0 trials" in shown.stderr


def test_flags_make_the_scenario(run: Run, played: Player, tmp_path: Path) -> None:
    flags = ("--latency-p95", "15ms", "--accuracy-drop", "1", "--budget", "45min", "--seed", "3", "--strategy", "tpe")
    run(*arguments(tmp_path, *flags, "--memory", "80%", "--limit", "f1 >= 0.5", "--train-minutes", "2"))
    ((scenario, _),) = played.seen

    assert {limit.metric for limit in scenario.limits} == {"latency_p95", "accuracy", "memory_peak_host", "f1"}
    assert (scenario.budget, scenario.seed, scenario.strategy, scenario.train.minutes) == (2700.0, 3, "tpe", 2.0)


def test_a_file_makes_the_scenario_and_flags_change_it(run: Run, played: Player, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(f"model: m\ndata: {tmp_path}/d.csv\nseed: 5\nlimits: {{accuracy_drop: 1}}\n")
    run("optimize", tmp_path / "s.yaml", "--out", tmp_path / "study", "--seed", "7", "--after", tmp_path / "old")
    ((scenario, after),) = played.seen

    assert (scenario.model, scenario.seed, after) == ("m", 7, tmp_path / "old")
    assert scenario.limits[0].metric == "accuracy"


def test_what_cannot_be_kept_has_its_own_exit_code(
    run_json: Callable[..., Any], run: Run, played: Player, tmp_path: Path
) -> None:
    played.changes["goals"] = Goals(GOALS.objectives, (Limit("latency_p95", "most", 0.001),))
    data = run_json(*arguments(tmp_path), code=3)
    shown = run(*arguments(tmp_path))

    assert data["status"] == "infeasible"
    assert data["recommended"] is None
    assert data["binding"]["limit"]["metric"] == "latency_p95"
    assert data["binding"]["asked"] == 0.001
    assert data["binding"]["nearest"]["configuration"]
    assert shown.exit_code == 3
    assert "What binds is latency_p95 at most 1 ms: the nearest point" in " ".join(shown.stdout.split())


def test_ctrl_c_shows_the_result_so_far(run: Run, played: Player, tmp_path: Path) -> None:
    played.evaluator.stop_after = 8
    shown = run(*arguments(tmp_path))

    assert shown.exit_code == 130
    assert "Stopped: the result so far is below." in shown.stdout
    assert (tmp_path / "study" / "recommended" / "bundle.json").exists()


def test_a_study_of_another_scenario_is_refused(run: Run, played: Player, tmp_path: Path) -> None:
    run(*arguments(tmp_path))
    shown = run(*arguments(tmp_path, "--seed", "1"))

    assert shown.exit_code == 2
    assert "A study belongs to one scenario." in shown.stderr
    assert "seed differ" in shown.stderr


def test_data_that_changed_is_refused(run: Run, played: Player, tmp_path: Path) -> None:
    run(*arguments(tmp_path))
    (tmp_path / "d.csv").write_text("text,label\nb,1\n")

    assert run(*arguments(tmp_path)).exit_code == 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "A search has a scenario, or a model and data."),
        (["--model", "m"], "Given: one of both."),
        (["--model", "m", "--data", "d.csv", "--strategy", "tpr"], "Did you mean 'tpe'"),
        (["--model", "m", "--data", "d.csv", "--limit", "latencyp95<=3ms"], "Did you mean"),
        (["--model", "m", "--data", "d.csv", "--budget", "soon"], "45min"),
        (["--model", "m", "--data", "d.csv", "--executor", "rya"], "ray"),
    ],
)
def test_bad_input(run: Run, more: list[str], said: str) -> None:
    shown = run("optimize", *more)

    assert shown.exit_code == 2
    assert said in " ".join(shown.stderr.split())


def test_any_trial_can_be_exported(run_json: Callable[..., Any], run: Run, played: Player, tmp_path: Path) -> None:
    found = run_json(*arguments(tmp_path))
    number = found["front"][-1]["number"]
    data = run_json("export", tmp_path / "study", "--trial", number, "--out", tmp_path / "out")

    assert data["number"] == number
    manifest = json.loads((tmp_path / "out" / "bundle.json").read_text())
    assert manifest["optimised"]["trial"] == number
    assert run("export", tmp_path / "study", "--trial", 999, "--out", tmp_path / "other").exit_code == 2
    with pytest.raises(StudyError):
        export_trial(tmp_path, 0, tmp_path / "other")


def test_live_progress_shows_the_front(played: Player, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    console = Console(force_terminal=True, width=160, record=True, file=(tmp_path / "shown").open("w"))
    monkeypatch.setattr("rheostat.cli.searching.error_console", lambda: console)
    evaluator = Synthetic(tmp_path / "t")
    with search_display(["accuracy", "latency_p95"], "optimizing m") as show:
        search(problem(), tmp_path / "s", evaluator, progress=show, clock=evaluator.clock)
    console.file.close()
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", (tmp_path / "shown").read_text())

    assert "optimizing m" in shown
    assert "left" in shown
    assert "accuracy" in shown
    assert "latest:" in shown
