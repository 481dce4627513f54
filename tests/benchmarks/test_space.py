"""The benchmark that measures a whole space, its worker played."""

from __future__ import annotations

import json
from pathlib import Path

import pandas
import pytest

from benchmarks import space
from rheostat.core.space import Axis, Space
from rheostat.search import local
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


@pytest.mark.usefixtures("as_played")
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


def test_bits_as_digits() -> None:
    assert space.to_hex([0, 0, 0, 0, 1, 1, 1, 1]) == "0f"
    bits = [1, 0, 1]
    assert int(space.to_hex(bits), 16) == 0b1010


def test_at_least_600_configurations_by_default() -> None:
    args = space.parser().parse_args(["measure", "--bundles", "a=.", "b=.", "c=.", "--data", "x"])
    assert space.space_of(args).size == 648
