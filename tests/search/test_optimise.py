from __future__ import annotations

import json
import math
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rheostat.core.errors import MeasurementError, SettingError, StudyError
from rheostat.core.goals import Goals, Limit, Objective
from rheostat.core.measurement import Measurement
from rheostat.core.result import Result, read_result
from rheostat.core.space import Space
from rheostat.search.database import connect
from rheostat.search.evaluator import Request
from rheostat.search.evidence import CONFIRMATION
from rheostat.search.loop import Progress, search
from rheostat.search.rounds import NEIGHBOUR
from rheostat.search.strategies.strategy import Hints
from rheostat.search.study import Study
from tests.search.synthetic import GOALS, SPACE, Synthetic, problem, truth


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for the disk is most of what a search without models does."""

    def connected(file: Path) -> sqlite3.Connection:
        database = connect(file)
        database.execute("PRAGMA synchronous = OFF")
        return database

    monkeypatch.setattr("rheostat.search.study.connect", connected)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def run(folder: Path, evaluator: Synthetic | None = None, **changes: Any) -> tuple[Result, Synthetic]:
    used = evaluator or Synthetic(folder / "trained")
    return search(problem(**changes), folder / "study", used, clock=used.clock), used


def test_the_baseline_is_first_and_the_recommendation_keeps_its_limits(tmp_path: Path) -> None:
    result, used = run(tmp_path)

    assert used.calls[0].configuration == SPACE.default
    assert result.status == "ok"
    assert result.recommended is not None
    assert result.recommended.confirmed
    assert result.recommended.preference is not None
    assert result.recommended.preference > 1.5
    assert truth(result.recommended.configuration)["accuracy"] > 0.9 - 0.03 - 0.01
    assert result.front[0] == replace(result.recommended, bundle=None)
    assert any("Recommended" in line for line in result.why)


def test_the_bundle_carries_configuration_measurements_and_card(tmp_path: Path) -> None:
    result, _ = run(tmp_path)

    bundle = tmp_path / "study" / "recommended"
    manifest = json.loads((bundle / "bundle.json").read_text())
    assert result.recommended is not None
    assert result.recommended.bundle == str(bundle)
    assert {**manifest["configuration"], **manifest["deployment"]}.items() <= result.recommended.configuration.items()
    assert manifest["deployment"] == {"threads": result.recommended.configuration["threads"]}
    assert manifest["optimised"]["confirmed"] is True
    assert (bundle / "measurements.jsonl").exists()
    assert "## Configuration" in (bundle / "README.md").read_text()
    assert not list((tmp_path / "study").glob(".recommended*"))


def test_the_result_on_file_is_the_one_returned(tmp_path: Path) -> None:
    result, _ = run(tmp_path)

    assert read_result(tmp_path / "study") == result
    written = json.loads((tmp_path / "study" / "result.json").read_text())
    wanted = ("status", "recommended", "front", "baseline", "cheap_baselines", "binding", "trials", "seconds")
    assert set(wanted) <= set(written)
    assert {"configuration", "metrics", "bundle"} <= set(written["recommended"])


@pytest.mark.parametrize("budget", [150.0, 400.0])
def test_the_budget_is_never_overshot_by_more_than_a_trial(tmp_path: Path, budget: float) -> None:
    result, used = run(tmp_path, budget=budget)

    assert used.now <= budget + 64.0
    assert result.seconds == pytest.approx(used.now)
    assert result.ended in ("budget", "exhausted", "settled")
    assert used.now > 0.6 * budget or result.ended != "budget"


def test_a_budget_too_small_for_the_baseline_says_how_much_is_needed(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="It takes about 71 s"):
        run(tmp_path, budget=30.0)
    assert not (tmp_path / "study").exists()


def test_a_small_space_is_exhausted(tmp_path: Path) -> None:
    small = replace(SPACE, axes=(SPACE.axes[0], *(replace(axis, values=(axis.default,)) for axis in SPACE.axes[1:])))
    result, used = run(tmp_path, Synthetic(tmp_path / "t", space=small), space=small, budget=1e5)

    assert result.ended == "exhausted"
    assert {request.configuration["recipe"] for request in used.calls} == {"plain", "uniform", "sandwich"}


def test_the_same_seed_proposes_the_same(tmp_path: Path) -> None:
    first, one = run(tmp_path / "a", seed=3, budget=300.0)
    second, two = run(tmp_path / "b", seed=3, budget=300.0)
    _, other = run(tmp_path / "c", seed=4, budget=300.0)

    assert one.calls == two.calls
    assert replace(first, recommended=None) == replace(second, recommended=None)
    assert one.calls != other.calls


def test_a_lucky_measurement_is_not_confirmed(tmp_path: Path) -> None:
    lucky = SPACE.canonical({"tokens": 0.1, "depth": 2, "precision": "int8"})
    evaluator = Synthetic(tmp_path / "t", lucky={SPACE.key(lucky): 0.91})
    only = replace(SPACE, axes=(replace(SPACE.axes[0], values=("plain",)), *SPACE.axes[1:]))
    result, used = run(tmp_path, evaluator, space=only, budget=5000.0, repeats=1)

    again = [call for call in used.calls if call.configuration == lucky]
    assert len(again) > 1
    assert result.status == "ok"
    assert result.recommended is not None
    assert result.recommended.configuration != lucky
    assert truth(result.recommended.configuration)["accuracy"] > 0.85


def test_a_lucky_measurement_would_win_without_confirmation(tmp_path: Path) -> None:
    """The control of the test above: the luck is there to be seen."""
    lucky = SPACE.canonical({"tokens": 0.1, "depth": 2, "precision": "int8"})
    evaluator = Synthetic(tmp_path / "t", lucky={SPACE.key(lucky): 0.91})
    only = replace(SPACE, axes=(replace(SPACE.axes[0], values=("plain",)), *SPACE.axes[1:]))

    def stop(progress: Progress) -> None:
        if progress.phase == "confirmation":
            raise KeyboardInterrupt

    about = problem(space=only, budget=5000.0, repeats=1)
    result = search(about, tmp_path / "study", evaluator, progress=stop, clock=evaluator.clock)

    assert result.status == "unconfirmed"
    assert result.recommended is not None
    assert result.recommended.configuration == lucky


def random_goals(source: random.Random) -> Goals:
    limits = [
        Limit("accuracy", "least", round(source.uniform(0.0, 0.1), 4), "difference"),
        Limit("latency_p95", "most", round(source.uniform(0.002, 0.06), 5)),
        Limit("memory_peak_host", "most", round(source.uniform(0.6, 1.0), 3), "ratio"),
        Limit("energy_per_sample", "most", round(source.uniform(0.02, 0.8), 4)),
    ]
    return Goals(GOALS.objectives, tuple(source.sample(limits, source.randint(1, 4))))


@pytest.mark.parametrize("seed", range(12))
def test_nothing_that_breaks_a_limit_is_ever_recommended(tmp_path: Path, seed: int) -> None:
    goals = random_goals(random.Random(seed))
    evaluator = Synthetic(tmp_path / "t", noise=0.0)
    result, used = run(tmp_path, evaluator, goals=goals, budget=600.0, seed=seed, bundles=False)

    base = truth(SPACE.default)
    kept = [one for one in SPACE.configurations() if all(keeps(limit, truth(one), base) for limit in goals.limits)]
    if not kept:
        assert result.status == "infeasible"
    if result.status == "ok":
        assert result.recommended is not None
        assert result.recommended.configuration in kept
    else:
        tried = [call.configuration for call in used.calls if call.fidelity == 1.0]
        assert not [one for one in tried if one in kept]
        assert result.recommended is None
        assert result.binding is not None
        assert result.binding.nearest is not None
        assert result.binding.excess
        assert f"{result.binding.excess:.1%}" in result.why[-1]


def keeps(limit: Limit, values: dict[str, float], base: dict[str, float]) -> bool:
    found, there = values[limit.metric], base[limit.metric]
    if limit.relative_to == "difference":
        return found >= there - limit.value - 1e-12
    return found <= (limit.value * there if limit.relative_to == "ratio" else limit.value)


def test_the_binding_limit_says_what_relaxing_it_buys(tmp_path: Path) -> None:
    result, _ = run(tmp_path, Synthetic(tmp_path / "t", noise=0.0), budget=5000.0)

    assert result.recommended is not None
    assert result.binding is not None
    assert result.binding.nearest is not None
    assert result.binding.limit == GOALS.limits[0]
    better = result.binding.nearest.preference or 0.0
    assert better > (result.recommended.preference or math.inf)
    assert result.binding.buys["latency_p95"] < 1.0
    assert any(line.startswith("What binds is accuracy") for line in result.why)


def test_a_cheap_model_that_will_do_is_named_first(tmp_path: Path) -> None:
    def simple() -> dict[str, dict[str, float]]:
        return {"majority": {"accuracy": 0.5}, "linear": {"accuracy": 0.95}}

    result, _ = run(tmp_path, simple=simple)

    assert result.cheap_baselines["linear"]["meets"] is True
    assert result.cheap_baselines["majority"]["meets"] is False
    assert result.why[0].startswith("A linear model on TF-IDF reaches accuracy 95.0 %")


def test_a_metric_that_cannot_be_measured_is_said_at_once(tmp_path: Path) -> None:
    evaluator = Synthetic(tmp_path / "t", missing=("energy_per_sample",))

    with pytest.raises(MeasurementError, match="energy_per_sample: no counter"):
        run(tmp_path, evaluator)
    assert len(evaluator.calls) == 1


def test_failures_are_recorded_and_not_recommended(tmp_path: Path) -> None:
    broken = {SPACE.key(one): "no memory" for one in SPACE.configurations() if one["precision"] == "int8"}
    result, _ = run(tmp_path, Synthetic(tmp_path / "t", broken=broken))

    assert result.status == "ok"
    assert result.recommended is not None
    assert result.recommended.configuration["precision"] == "fp32"
    assert any("failed" in note for note in result.notes)


def test_a_baseline_that_fails_ends_the_search(tmp_path: Path) -> None:
    evaluator = Synthetic(tmp_path / "t", broken={SPACE.key({}): "no memory"})

    with pytest.raises(MeasurementError, match="out-of-memory: no memory"):
        run(tmp_path, evaluator)


def test_new_trainings_are_looked_at_with_little_first(tmp_path: Path) -> None:
    _, used = run(tmp_path, budget=1000.0)

    first = {}
    for call in used.calls:
        first.setdefault(call.configuration["recipe"], call.fidelity)
    assert first.pop("plain") == 1.0
    assert first
    assert set(first.values()) == {0.25}
    assert {call.fidelity for call in used.calls} == {0.25, 1.0}


def test_ctrl_c_leaves_a_result_and_goes_on(tmp_path: Path) -> None:
    evaluator = Synthetic(tmp_path / "trained", stop_after=20)
    stopped, _ = run(tmp_path, evaluator)
    evaluator.stop_after = None
    result, _ = run(tmp_path, evaluator)

    assert stopped.ended == "interrupted"
    assert stopped.trials == 20
    assert stopped.recommended is not None
    assert stopped.status == "unconfirmed"
    assert (tmp_path / "study" / "recommended" / "bundle.json").exists()
    assert result.status == "ok"
    assert result.trials == len(evaluator.calls)


def test_a_finished_study_returns_its_result_at_once(tmp_path: Path) -> None:
    result, used = run(tmp_path)
    made = len(used.calls)
    again, _ = run(tmp_path, used)
    more, _ = run(tmp_path, used, budget=900.0)

    assert again == result
    assert len(used.calls) > made or more.ended == result.ended
    assert more.seconds >= result.seconds


def test_another_scenario_and_a_second_optimiser_are_refused(tmp_path: Path) -> None:
    run(tmp_path)

    with pytest.raises(StudyError, match="one scenario"):
        run(tmp_path, digest="another")
    with Study.open(tmp_path / "study", "d"), pytest.raises(StudyError, match="one optimiser"):
        run(tmp_path)


def test_progress_is_told_after_every_measurement(tmp_path: Path) -> None:
    seen: list[Progress] = []
    evaluator = Synthetic(tmp_path / "t")
    result = search(problem(), tmp_path / "study", evaluator, progress=seen.append, clock=evaluator.clock)

    assert sorted({one.trials for one in seen}) == list(range(result.trials + 1))
    assert [one.phase for one in (seen[0], seen[-1])] == ["baseline", "confirmation"]
    assert seen[-1].front
    assert seen[-1].latest is not None
    assert CONFIRMATION in {one.latest.strategy for one in seen if one.latest is not None}


def test_without_a_limit_on_quality_not_much_of_it_is_lost(tmp_path: Path) -> None:
    goals = Goals((Objective("accuracy"), Objective("latency_p95")))
    result, _ = run(tmp_path, Synthetic(tmp_path / "t", noise=0.0), goals=goals, budget=900.0, bundles=False)

    assert result.recommended is not None
    assert result.recommended.score is not None
    assert result.recommended.score.lost is not None
    assert 0 < result.recommended.score.lost <= 1.2
    assert any("1.2 points" in note for note in result.notes)


KILLS = 10


@pytest.mark.slow
def test_a_search_that_is_killed_goes_on_and_measures_nothing_twice(tmp_path: Path) -> None:
    moments = random.Random(0)
    started = Counter[str]()
    for _ in range(KILLS):
        process = start(tmp_path)
        wait_for_log(tmp_path, process)
        time.sleep(moments.uniform(0.0, 0.25))
        process.kill()
        process.communicate()
        check_bundle(tmp_path / "study" / "recommended")
    process = start(tmp_path)
    out, _ = process.communicate(timeout=60)

    assert process.returncode == 0
    assert json.loads(out)["status"] == "ok"
    started.update((tmp_path / "log").read_text().splitlines())
    with Study(tmp_path / "study") as study:
        trials = study.trials()
        assert study.counts()["RUNNING"] == 0
    done = Counter(f"{SPACE.key(trial.configuration)} {trial.fidelity}" for trial in trials)
    # What was being measured when a kill came is begun again, and nothing else.
    assert sum((started - done).values()) <= KILLS
    assert not done - started
    check_bundle(tmp_path / "study" / "recommended")


@pytest.mark.slow
def test_sigterm_ends_in_good_order(tmp_path: Path) -> None:
    process = start(tmp_path)
    wait_for_log(tmp_path, process)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=30)

    assert process.returncode == 0
    assert json.loads(out)["ended"] == "interrupted"


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.search.synthetic", str(folder), "2500", "0.01"]
    folder.mkdir(exist_ok=True)
    where = Path(__file__).parents[2]
    return subprocess.Popen(command, cwd=where, env={**os.environ, "PYTHONPATH": "src:."}, stdout=-1, text=True)


def wait_for_log(folder: Path, process: subprocess.Popen[str]) -> None:
    log = folder / "log"
    before = log.stat().st_size if log.exists() else 0
    end = time.monotonic() + 30
    while (not log.exists() or log.stat().st_size == before) and time.monotonic() < end:
        if process.poll() is not None:
            return
        time.sleep(0.005)


def check_bundle(folder: Path) -> None:
    if not folder.exists():
        # Before the first measurement is through, nothing is known.
        return
    manifest = json.loads((folder / "bundle.json").read_text())
    assert (folder / "model.safetensors").read_bytes() == manifest["weights"].encode() * 1000
    assert manifest["configuration"]


@pytest.mark.slow
def test_the_strategies_all_come_to_an_end(tmp_path: Path) -> None:
    for name in ("surrogate", "tpe", "nsga2"):
        result, _ = run(tmp_path / name, strategy=name, budget=250.0, bundles=False)
        assert result.status == "ok", name
        assert result.trials > 5


def test_a_repeat_after_a_failure_is_another_trial(tmp_path: Path) -> None:
    """A configuration that fails now and then is never taken for one that has been measured already."""
    evaluator = Synthetic(tmp_path / "t", noise=0.2)
    result, _ = run(tmp_path, evaluator, budget=800.0, repeats=3, bundles=False)

    with Study(tmp_path / "study") as study:
        again = [trial for trial in study.trials() if trial.strategy == "repeat"]
        assert study.counts()["DONE"] == result.trials
    assert again


def test_the_default_gains_nothing_over_itself(tmp_path: Path) -> None:
    goals = Goals(
        GOALS.objectives, (Limit("accuracy", "least", -0.005, "difference"), Limit("latency_p95", "most", 1.0))
    )
    only = Goals(GOALS.objectives, (Limit("memory_peak_host", "least", 0.999, "ratio"),))
    for number, each in enumerate((goals, only)):
        result, _ = run(tmp_path / str(number), Synthetic(tmp_path / "t"), goals=each, budget=300.0, bundles=False)
        assert result.baseline is not None
        assert result.baseline.preference == pytest.approx(1.0)
        assert result.baseline.score is not None
        assert result.baseline.score.lost == pytest.approx(0.0)


class SlowAtFirst(Synthetic):
    """A machine that is eight times slower while the baseline is measured."""

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Measurement]:
        if not self.calls:
            self.now += 7 * self.price(requests[0].configuration)
        yield from super().evaluate(requests)


def test_what_looks_too_dear_after_a_slow_spell_is_tried_when_it_no_longer_does(tmp_path: Path) -> None:
    guess = SPACE.canonical({"recipe": "uniform", "tokens": 0.5})
    used = SlowAtFirst(tmp_path / "trained", training_seconds=400.0, trained={("plain", 1.0), ("plain", 0.25)})
    run(tmp_path, used, hints=Hints(guesses=(guess,)))

    first = next(at for at, call in enumerate(used.calls) if call.configuration == guess)
    assert first > 1, "it was never postponed: the test shows nothing"
    assert used.now <= 600.0 + 400.0


def test_the_dials_of_what_is_recommended_have_been_turned_a_step_further(tmp_path: Path) -> None:
    fine = tuple(at / 20 for at in range(1, 21))
    axes = tuple(replace(axis, values=fine) if axis.name == "tokens" else axis for axis in SPACE.axes)
    space, looked_at, chosen_so = Space(axes), 0, 0
    for seed in range(5):
        used = Synthetic(tmp_path / f"trained {seed}", noise=0.0, space=space)
        result, _ = run(tmp_path / str(seed), used, space=space, seed=seed, bundles=False)
        assert result.recommended is not None
        best, chosen_so = result.recommended.configuration, chosen_so + (result.recommended.strategy == NEIGHBOUR)
        asked = [space.key(call.configuration) for call in used.calls]
        if asked.index(space.key(best)) > len(asked) - 15:
            # Found when the time was up.
            continue
        looked_at += 1
        for name in ("tokens", "depth"):
            values = space.axis(name).values
            at = values.index(best[name])
            assert at == 0 or space.key({**best, name: values[at - 1]}) in asked, f"{best}, {name}"
    assert looked_at
    assert chosen_so, "a step was never an improvement: the test shows nothing"
