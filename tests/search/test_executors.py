from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from rheostat.core import extras
from rheostat.core.errors import RheostatError, SettingError
from rheostat.search.executors import EXECUTORS, Job, make_evaluator, ray
from rheostat.search.local import LocalEvaluator
from rheostat.search.scenario import Scenario
from tests.saved import make_data, save_tiny


def job(folder: Path, **changes: Any) -> Job:
    save_tiny(folder / "model")
    scenario = Scenario.from_json({"model": str(folder / "model"), "data": "d.csv", **changes})
    return Job(scenario, make_data(), folder / "study", 8)


def test_an_unknown_executor_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="Did you mean 'local'"):
        make_evaluator("locla", job(tmp_path))


def test_on_this_machine_trials_run_one_at_a_time(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="2 workers. Leave workers out, or use several machines"):
        make_evaluator("local", job(tmp_path, workers=2))


def test_the_local_one_measures_here(tmp_path: Path) -> None:
    made = make_evaluator("local", job(tmp_path, train={"minutes": 2}))

    assert isinstance(made, LocalEvaluator)
    assert made.price({"recipe": "plain"}) > 120
    made.close()


def test_trainings_are_as_the_scenario_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr("rheostat.search.local.local_evaluator", lambda *args: made.append(args))
    for said in ({}, {"model_dropout": 0.2, "minutes": 3.0, "precision": "fp32"}, {"model_dropout": None}):
        make_evaluator("local", job(tmp_path, train=said))
    found = [args[3].settings for args in made]
    assert [one["model_dropout"] for one in found] == [0.0, 0.2, None]
    assert [one["max_minutes"] for one in found] == [10.0, 3.0, 10.0]
    assert [one["precision"] for one in found] == ["auto", "fp32", "auto"]


def test_without_ray_it_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(extras.importlib, "import_module", missing)
    with pytest.raises(RheostatError, match=r"pip install 'rheostat\[ray\]'"):
        ray(job(tmp_path))


def test_every_executor_is_there() -> None:
    for place in EXECUTORS.values():
        module, _, member = place.partition(":")
        assert importlib.util.find_spec(module) is not None
        assert member
