"""The benchmark that measures a whole space, its worker played."""

from __future__ import annotations

import json
from pathlib import Path

import pandas
import pytest

from benchmarks import space
from benchmarks.search_runs import cost_model
from benchmarks.search_spaces import GOALS
from rheostat.core.space import Axis, Space
from rheostat.search import local
from rheostat.search.costs import Speeds
from rheostat.search.recorded import RecordedSpace
from tests.saved import make_data
from tests.search.conftest import as_played, saved_bundle  # noqa: F401 - a fixture


def arguments(folder: Path, *more: str) -> list[str]:
    rows = []
    for name, split in make_data().splits.items():
        labels = ["ab"[label] for label in split.labels or []]
        rows += [{"text": t, "label": label, "split": name} for t, label in zip(split.texts, labels, strict=True)]
    pandas.DataFrame(rows).to_parquet(folder / "rows.parquet")
    for seed, recipe in enumerate(("plain", "uniform")):
        if not (folder / recipe).exists():
            saved_bundle(folder / recipe, seed)
    places = [f"{recipe}={folder / recipe}" for recipe in ("plain", "uniform")]
    sizes = ["--tokens", "0.5", "--depths", "4", "--blocks", "4", "--precisions", "int8", "--batches", "2", "8"]
    paths = ["--data", str(folder / "rows.parquet"), "--work", str(folder / "work"), "--out", str(folder / "out.json")]
    return ["measure", "--bundles", *places, *sizes, *paths, "--rows", "8", "--rounds", "3", *more]


@pytest.fixture
def known_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "measured_speeds", lambda *_: Speeds({1: 1e11, 2: 2e11}, 1e10, {"int8": 2.0}))


@pytest.mark.usefixtures("as_played", "known_machine")
def test_a_space_is_measured_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    args = space.parser().parse_args(arguments(tmp_path))
    original, done = local.LocalEvaluator.evaluate, []

    class Killed(BaseException):
        pass

    def killed(self, requests):  # type: ignore[no-untyped-def]
        for measurement in original(self, requests):
            yield measurement
            done.append(measurement.key)
            if len(done) == 10:
                raise Killed

    monkeypatch.setattr(local.LocalEvaluator, "evaluate", killed)
    with pytest.raises(Killed):
        space.measure(args)
    space.measure(args)
    assert len(done) == len(set(done)) == 32
    content = json.loads((tmp_path / "out.json").read_text())
    assert [axis["name"] for axis in content["axes"]] == ["recipe", "precision", "tokens", "depth", "threads", "batch"]
    again = Space(tuple(Axis(**{**axis, "values": tuple(axis["values"]), "when": ()}) for axis in content["axes"]))
    assert {again.key(row["configuration"]) for row in content["rows"]} == {
        again.key(one) for one in again.configurations()
    }
    # Quality does not depend on batch and threads: 2 recipes, 2 precisions, 2 keep rates.
    assert len(content["right"]) == 8
    pruned = {"recipe": "plain", "precision": "fp32", "tokens": 0.5, "depth": 4}
    assert content["right"][json.dumps(pruned)] == "7f"
    assert content["workload"]["rows"] == 8
    row = next(one for one in content["rows"] if one["configuration"] == again.default)
    assert row["metrics"]["accuracy"][0] == 1.0
    energy, processor = (row["metrics"][name][0] for name in ("energy_per_sample", "processor_time_per_sample"))
    assert energy == pytest.approx(4 * processor, rel=1e-4)
    assert set(content["trainings"]) == {'{"recipe": "plain"}', '{"recipe": "uniform"}'}
    assert content["sources"]["energy_per_sample"] == ["estimated", "processor time x 4 W a core"]
    assert "32/32, 0 min left" in capsys.readouterr().out
    check_predictions(tmp_path / "out.json")


def check_predictions(file: Path) -> None:
    """What the cost model said is in the file; `predict` asks again and changes nothing else."""
    recorded = RecordedSpace.read(file)
    plain, pruned = (recorded.row(one).predicted["latency_p50"] for one in ({}, {"tokens": 0.5}))
    assert plain > pruned > 0.0
    predict = cost_model(recorded, GOALS)
    assert predict is not None
    assert predict(recorded.space.default) == dict(enumerate(recorded.row({}).predicted.values(), start=1))
    content = json.loads(file.read_text())
    content["trainings"]['{"recipe": "plain"}']["settings"] = {"model": str(file.parent / "plain")}
    file.write_text(json.dumps({**content, "rows": [{**row, "predicted": {}} for row in content["rows"]]}))
    args = space.parser().parse_args(["predict", "--data", str(file.parent / "rows.parquet"), "--out", str(file)])
    space.predict(args)
    again = RecordedSpace.read(file)
    assert [row.metrics for row in again.rows] == [row.metrics for row in recorded.rows]
    assert again.row({}).predicted["latency_p50"] > again.row({"tokens": 0.5}).predicted["latency_p50"]


def test_bits_as_digits() -> None:
    assert space.to_hex([0, 0, 0, 0, 1, 1, 1, 1]) == "0f"
    bits = [1, 0, 1]
    assert int(space.to_hex(bits), 16) == 0b1010


def test_at_least_600_configurations_by_default() -> None:
    args = space.parser().parse_args(["measure", "--bundles", "a=.", "b=.", "c=.", "--data", "x"])
    assert space.space_of(args).size == 648
