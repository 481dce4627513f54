"""The local evaluator, its worker played: what is loaded when, what is measured, what goes wrong."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rheostat.core.errors import DataError, MeasurementError, SettingError, TrainingError
from rheostat.core.measurement import Measurement
from rheostat.core.text import TextData
from rheostat.core.workload import Workload
from rheostat.measure.bench.process import WorkError
from rheostat.measure.probes.meter import EnergyMeter, moved
from rheostat.search.evaluator import Evaluator, Request, fidelity_of
from rheostat.search.instruments import Instruments
from rheostat.search.local import LocalEvaluator, LocalOptions, local_evaluator
from rheostat.search.sitting import SettingMethod, Sitting
from rheostat.search.trainings import GivenBundles, TrainingOptions
from tests.saved import make_data
from tests.search.conftest import saved_bundle
from tests.search.played import TROUBLE

pytestmark = pytest.mark.usefixtures("as_played")

METHOD = SettingMethod(rounds=3, rows=8, round_seconds=0.001, time_limit=3.0)
OPTIONS = LocalOptions(Workload("classify", batch_size=8), METHOD, threads=2)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What was loaded, in order."""
    found: list[tuple[str, Any]] = []
    original = Sitting.__init__

    def noted(self: Sitting, source: str, knobs: Any, *rest: Any) -> None:
        found.append((Path(source).name, knobs.get("precision", "fp32")))
        original(self, source, knobs, *rest)

    monkeypatch.setattr(Sitting, "__init__", noted)
    return found


def evaluator(tmp_path: Path, data: TextData) -> LocalEvaluator:
    bundles = {name: tmp_path / name for name in ("plain", "uniform")}
    for seed, folder in enumerate(bundles.values()):
        if not folder.exists():
            saved_bundle(folder, seed)
    return LocalEvaluator(GivenBundles(bundles), data, tmp_path / "study", OPTIONS)


def request(recipe: str = "plain", fidelity: float = 1.0, **axes: Any) -> Request:
    return Request({"recipe": recipe, "precision": "fp32", "tokens": 1.0, **axes}, fidelity)


def value(measurement: Measurement, name: str) -> float:
    found = measurement.metrics[name].value
    assert found is not None
    return found


def test_what_is_measured(tmp_path: Path, data: TextData) -> None:
    with evaluator(tmp_path, data) as ours:
        protocol: Evaluator = ours
        plain, pruned, small = protocol.evaluate(
            [request(), request(tokens=0.5), request(tokens=0.5, batch=2, threads=1)]
        )
    assert [one.status for one in (plain, pruned, small)] == ["ok"] * 3
    assert value(plain, "latency_p50") == pytest.approx(0.004)
    # Speed is that of rows: a batch of 2 on one thread takes 0.5 ms a row, as the plain model on two.
    assert [value(one, "speedup") for one in (plain, pruned, small)] == pytest.approx([1.0, 2.0, 1.0])
    assert value(small, "throughput_samples") == pytest.approx(2000)
    assert [value(one, "accuracy") for one in (plain, pruned)] == [1.0, 7 / 8]
    assert pruned.samples["right"] == [0, *[1] * 7]
    assert value(small, "memory_peak_running") == 2e6 + 2000
    assert value(small, "memory_peak_host") == 2.5e6
    assert value(plain, "processor_time_per_sample") == pytest.approx(0.02 / 8)
    assert plain.metrics["energy_per_sample"].source == "no counter"
    assert plain.metrics["energy_per_sample"].provenance == "unavailable"
    assert small.conditions["torch_threads"] == 1
    with LocalEvaluator(
        GivenBundles({"plain": tmp_path / "plain"}), data, tmp_path, replace(OPTIONS, watts_per_core=4.0)
    ) as ours:
        (guessed,) = ours.evaluate([request()])
    energy = guessed.metrics["energy_per_sample"]
    assert (energy.value, energy.provenance) == (pytest.approx(4 * 0.02 / 8), "estimated")
    assert energy.source == "processor time x 4 W a core"
    assert len({one.key for one in (plain, pruned, small)}) == 3


def test_settings_of_a_model_share_a_process(tmp_path: Path, data: TextData, loads: list[tuple[str, Any]]) -> None:
    axes = itertools.product(("plain", "uniform"), ("int8", "fp32"), (1.0, 0.5), (8, 4))
    requests = [request(recipe, precision=precision, tokens=t, batch=b) for recipe, precision, t, b in axes]
    with evaluator(tmp_path, data) as ours:
        found = list(ours.evaluate(requests))
        # Beside the first model in 8 bits the plain one is the reference; it is measured in that process later on.
        assert loads == [("plain", "int8"), ("plain", "fp32"), ("uniform", "int8"), ("uniform", "fp32")]
        assert sum(one.conditions["loading_seconds"] > 0 for one in found) == 3
        assert {one.configuration["tokens"]: one.metrics["speedup"].value for one in found} == pytest.approx(
            {1.0: 1.0, 0.5: 2.0}
        )
        list(ours.evaluate([request("uniform", tokens=0.25)]))
        assert len(loads) == 4
    assert len({one.key for one in found}) == len(requests)


def test_what_is_loaded_comes_first(tmp_path: Path, data: TextData) -> None:
    with evaluator(tmp_path, data) as ours:
        list(ours.evaluate([request("uniform")]))
        order = [one.configuration["precision"] for one in ours.evaluate([request(precision="int8"), request()])]
        assert order == ["fp32", "int8"]


@pytest.mark.parametrize(
    ("trouble", "status", "words"),
    [
        ("crash", "failed", "code 3"),
        ("kill", "out-of-memory", "the system killed it"),
        ("sleep", "timed-out", "longer than 3 s"),
        ("memory", "out-of-memory", "too many rows"),
        ("refuse", "failed", "not this one"),
    ],
)
def test_what_goes_wrong_is_a_result(
    tmp_path: Path, data: TextData, loads: list[tuple[str, Any]], trouble: str, status: str, words: str
) -> None:
    with evaluator(tmp_path, data) as ours:
        wrong, right = ours.evaluate([request(tokens=TROUBLE[trouble]), request(tokens=0.5)])
    assert (wrong.status, wrong.configuration["tokens"]) == (status, TROUBLE[trouble])
    assert words in wrong.reason
    assert wrong.conditions["seconds"] > 0
    assert right.status == "ok"
    # The next one ran in a fresh process.
    assert loads == [("plain", "fp32")] * 2


def test_what_cannot_be_loaded_is_tried_once(tmp_path: Path, data: TextData, loads: list[tuple[str, Any]]) -> None:
    with evaluator(tmp_path, data) as ours:
        found = list(ours.evaluate([request(precision="int4", tokens=tokens) for tokens in (0.5, 1.0)]))
        assert [(one.status, one.reason) for one in found] == [("failed", "no library for int4")] * 2
        assert len(loads) == 1


def test_a_failed_training_is_a_result_for_all_that_need_it(tmp_path: Path, data: TextData) -> None:
    with local_evaluator("some/model", data, tmp_path, TrainingOptions(), OPTIONS) as ours:
        found = list(ours.evaluate([request("uniform", tokens=tokens) for tokens in (0.5, 1.0)] + [request("plain")]))
        assert [one.status for one in found] == ["out-of-memory", "out-of-memory", "ok"]
        assert found[0].reason == "its training: no room to learn"
        assert found[2].conditions["training_seconds"] > 0
        assert ours.bundle({"recipe": "plain"}).parent == tmp_path / "trainings"
        with pytest.raises(TrainingError, match="no room to learn"):
            ours.bundle({"recipe": "uniform"})


def test_quality_is_judged_once(tmp_path: Path, data: TextData) -> None:
    with evaluator(tmp_path, data) as ours:
        first = list(ours.evaluate([request(tokens=0.5, batch=batch) for batch in (2, 4, 8)]))
        assert sum(one.conditions["judging_seconds"] > 0 for one in first) == 1
    with evaluator(tmp_path, data) as ours:
        (part,) = ours.evaluate([request(tokens=0.5, fidelity=0.5)])
    assert part.conditions["judging_seconds"] == 0
    assert part.samples["right"] == [0, 1, 1, 1]
    assert fidelity_of(part) == 0.5


def test_prices_are_learnt(tmp_path: Path, data: TextData) -> None:
    with evaluator(tmp_path, data) as ours:
        guess = ours.price(request().configuration)
        list(ours.evaluate([request(), request(tokens=0.5)]))
        known, judged, loaded = (
            ours.price(one.configuration) for one in (request(), request(tokens=0.3), request("uniform"))
        )
        assert known < judged < loaded < guess
    trained = local_evaluator("some/model", data, tmp_path, TrainingOptions({"max_minutes": 5.0}), OPTIONS)
    assert trained.price(request().configuration) > 300 > 0.5 * trained.price(request().configuration, 0.5)


def test_bad_input(tmp_path: Path, data: TextData) -> None:
    with evaluator(tmp_path, data) as ours, pytest.raises(SettingError, match="Did you mean 'tokens'"):
        list(ours.evaluate([Request({"recipe": "plain", "token": 0.5})]))
    with pytest.raises(MeasurementError, match="runs a model"):
        LocalEvaluator(GivenBundles({}), data, tmp_path, LocalOptions(Workload("train")))
    with pytest.raises(DataError, match="reads data for"):
        LocalEvaluator(GivenBundles({}), make_data("causal-lm"), tmp_path, OPTIONS)
    for wrong in ({"rounds": 2}, {"rows": 0}, {"time_limit": 0.0}):
        with pytest.raises(SettingError):
            SettingMethod(**wrong)
    other = TextData(data.splits, "classification", ("yes", "no"))
    with evaluator(tmp_path, other) as ours:
        (found,) = ours.evaluate([request()])
    assert found.status == "failed"
    assert "bundle's classes" in found.reason


def test_a_reference_that_cannot_run_is_done_without(tmp_path: Path, data: TextData) -> None:
    with evaluator(tmp_path, data) as ours:
        ours._seats._plain = _no_room  # type: ignore[method-assign]
        (found,) = ours.evaluate([request(precision="int8")])
    assert found.status == "ok"
    assert found.metrics["speedup"].value is None
    assert "no room" in found.metrics["speedup"].source


class _Meter(EnergyMeter):
    """Gives what it is told, turn by turn; 0 is below its step."""

    provenance = "counter"
    source = "a counter"

    def __init__(self, joules: list[float]) -> None:
        self._joules = joules

    def start(self) -> None:
        pass

    def stop(self) -> float:
        return moved(self._joules.pop(0), self.source)


@pytest.mark.parametrize(("joules", "expected"), [([1.0, 2.0, 3.0], 6 / 27), ([1.0, 0.0, 3.0], None)])
def test_energy_is_read_over_all_turns_or_not_at_all(
    tmp_path: Path, data: TextData, joules: list[float], expected: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = Instruments(_Meter(joules), 0.5, "", False, 1e9)
    monkeypatch.setattr(Instruments, "of", lambda device: tools)
    with evaluator(tmp_path, data) as ours:
        (found,) = ours.evaluate([request()])
    energy = found.metrics["energy_per_sample"]
    # 3 turns of 8 rows, and an untimed one before each.
    assert energy.value == (None if expected is None else pytest.approx(expected))
    assert energy.source == ("" if expected else "a turn was shorter than the step of the meter")


def _no_room(*about: Any) -> Sitting:
    raise WorkError("out-of-memory", "no room")
