"""Trainings run once, each in its own process; what fails is remembered."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from rheostat.core.errors import SettingError
from rheostat.core.text import TextData
from rheostat.measure.bench.process import WorkError
from rheostat.search import trainings
from rheostat.search.trainings import GivenBundles, LocalTrainings, TrainingOptions

pytestmark = pytest.mark.usefixtures("as_played")


def local(folder: Path, data: TextData, **options: object) -> LocalTrainings:
    return LocalTrainings("some/model", data, folder, TrainingOptions(**options))  # type: ignore[arg-type]


def test_a_training_runs_once(tmp_path: Path, data: TextData, monkeypatch: pytest.MonkeyPatch) -> None:
    known = local(tmp_path, data, settings={"max_minutes": 2.0})
    plain = {"recipe": "plain"}
    assert known.price(plain) == 150.0
    first = known.source(plain)
    assert first.seconds > 0
    told = json.loads(Path(first.place, "bundle.json").read_text())
    assert told == {"training": {"max_minutes": 2.0, "save_minutes": 2.0}, "axes": plain}
    monkeypatch.setattr(trainings, "COMMAND", ("false",))
    again = local(tmp_path, data, settings={"max_minutes": 2.0})
    assert (again.source(plain).place, again.source(plain).seconds) == (first.place, 0.0)
    assert again.price(plain) == 0.0
    assert again.bundle(plain) == Path(first.place)
    assert list(again.seconds()) == ['{"recipe": "plain"}']
    with pytest.raises(WorkError, match="its training: it ended with code 1"):
        again.source({"recipe": "nested"})


def test_what_is_learnt_from_names_the_training(tmp_path: Path, data: TextData) -> None:
    places = {
        local(tmp_path, data, settings=settings)._place(axes, fidelity)
        for settings in ({"epochs": 1}, {"epochs": 2})
        for axes in ({"recipe": "plain"}, {"recipe": "plain", "adapter": "lora", "rank": 4})
        for fidelity in (0.5, 1.0)
    }
    assert len(places) == 8
    fewer = TextData({**data.splits, "train": data.split("train").take(range(9))}, "classification", data.label_names)
    assert local(tmp_path, fewer)._place({"recipe": "plain"}, 1.0) != local(tmp_path, data)._place(
        {"recipe": "plain"}, 1.0
    )


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"max_minutes": 4.0}, {"max_minutes": 1.0}), ({}, {"limit": 6}), ({"limit": 8}, {"limit": 2})],
)
def test_a_lower_fidelity_trains_less(
    tmp_path: Path, data: TextData, settings: dict[str, float], told: dict[str, float]
) -> None:
    known = local(tmp_path, data, settings=settings)
    place = known.source({"recipe": "plain"}, 0.25).place
    assert json.loads(Path(place, "bundle.json").read_text())["training"] == {**told, "save_minutes": 2.0}
    assert known.price({"recipe": "plain"}) > 0


def test_out_of_memory_is_remembered(tmp_path: Path, data: TextData, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WorkError, match="no room to learn"):
        local(tmp_path, data).source({"recipe": "uniform"})
    monkeypatch.setattr(trainings, "COMMAND", ("false",))
    with pytest.raises(WorkError, match="no room to learn") as caught:
        local(tmp_path, data).source({"recipe": "uniform"})
    assert caught.value.status == "out-of-memory"


def test_a_training_has_its_time(tmp_path: Path, data: TextData) -> None:
    start = time.monotonic()
    with pytest.raises(WorkError, match="longer than 1 s") as caught:
        local(tmp_path, data, time_limit=1.0).source({"recipe": "sandwich"})
    assert caught.value.status == "timed-out"
    assert time.monotonic() - start < 20
    assert TrainingOptions({"max_minutes": 10.0}).limit(0.5) == 1050.0
    assert TrainingOptions().limit(1.0) == 21600.0


def test_unfit_settings_are_found_out_at_once(tmp_path: Path, data: TextData) -> None:
    with pytest.raises(SettingError, match="learning_rate"):
        local(tmp_path, data, settings={"learning_rate": -1.0})
    known = local(tmp_path, data)
    with pytest.raises(SettingError, match="Did you mean 'uniform'"):
        known.source({"recipe": "unifrom"})
    with pytest.raises(SettingError, match="come with its kind"):
        known.source({"recipe": "plain", "rank": 4})


def test_a_model_without_a_training_is_run_as_it_is(tmp_path: Path, data: TextData, bundle: Path) -> None:
    known = LocalTrainings(str(bundle), data, tmp_path / "trainings")
    assert known.source({}).place == str(bundle)
    assert known.price({}) == 0.0
    assert known.bundle({}) == bundle
    # One that is no bundle becomes one.
    other = local(tmp_path / "trainings", data)
    assert other.source({}).place == "some/model"
    assert (other.bundle({}) / "bundle.json").is_file()


def test_given_bundles(bundle: Path) -> None:
    given = GivenBundles({"plain": bundle})
    assert given.source({"recipe": "plain"}, 0.1).place == str(bundle)
    assert given.price({"recipe": "plain"}) == 0.0
    with pytest.raises(SettingError, match="Did you mean 'plain'"):
        given.source({"recipe": "plane"})
    with pytest.raises(SettingError):
        given.bundle({"recipe": "plain", "rank": 4})
