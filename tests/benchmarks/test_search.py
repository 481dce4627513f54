import json
from dataclasses import replace

import pytest

from benchmarks import search
from benchmarks.search_runs import Variant, feasible, needed, recommended, scenarios, shares
from benchmarks.search_runs import search as steps
from benchmarks.search_spaces import GOALS, rough_costs, stand_in, synthetic
from rheostat.core.goals import Goals, Limit
from rheostat.search.strategies.surrogate import Settings

CHANCE = Variant("random", "random", hints=())
QUICK = Variant("ours", settings=Settings(boosted=False), width=10)


@pytest.fixture(scope="module")
def recorded():
    return stand_in(0)


def test_the_default_configuration_comes_first_and_nothing_twice(recorded):
    done = [step.configuration for step in steps(recorded, GOALS, CHANCE, 0)]
    assert done[0] == recorded.space.default
    assert len({recorded.space.key(one) for one in done}) == len(done) == recorded.space.size


def test_shares_grow_and_go_by_the_seed(recorded):
    first, again, other = (shares(recorded, GOALS, CHANCE, seed, [5, 15, 30]) for seed in (0, 0, 1))
    assert first == again != other
    assert first == sorted(first)


def test_seconds_count_trainings_once_or_each_time(recorded):
    free, paid = (needed(recorded, GOALS, replace(CHANCE, free_dials=free), 0, [0.5], 100)[0] for free in (True, False))
    assert free[0] == paid[0]
    assert paid[1] > free[1] + 600
    assert needed(recorded, GOALS, CHANCE, 0, [1.1], 5) == [None]


def test_a_first_look_measures_fewer_in_full(recorded):
    seen = []
    for step in steps(recorded, GOALS, replace(CHANCE, low=0.25, width=5), 0):
        seen.append(step)
        if len(seen) == 60:
            break
    dropped = [step for step in seen if step.configuration is None]
    assert 0 < len(dropped) < 55


def test_generated_scenarios_are_one_in_four_infeasible(recorded):
    found = list(scenarios(recorded, GOALS, 20, seed=0))
    assert sum(not possible for _, possible in found) == 5
    assert all(feasible(recorded, goals) == possible for goals, possible in found)
    assert len({repr(goals) for goals, _ in found}) == 20


def test_what_is_recommended_keeps_the_limits(recorded):
    baseline = recorded.baseline.metrics
    goals = Goals(GOALS.objectives, (Limit("latency_p50", "most", 0.5, "ratio"), Limit("accuracy", "least", 0.84)))
    found = recommended(recorded, goals, QUICK, 0, 30)
    assert goals.excess(recorded.row(found).metrics, baseline) == 0.0
    impossible = Goals(GOALS.objectives, (Limit("accuracy", "least", 0.99),))
    assert recommended(recorded, impossible, CHANCE, 0, 30) is None


def test_rough_costs_are_for_spaces_with_dials_only(recorded):
    predict = rough_costs(recorded.space, GOALS)
    assert set(predict(recorded.space.default)) == {1, 2, 3}
    assert predict(recorded.space.default)[1] > predict(recorded.space.canonical({"tokens": 0.1}))[1]
    assert rough_costs(synthetic().space, GOALS) is None


def test_the_script_writes_what_it_prints(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(search, "COMPARED", (CHANCE, QUICK))
    stand_in(1).write(tmp_path / "space.json")
    search.main(
        ["compare", str(tmp_path / "space.json"), "--seeds", "1", "--at", "5", "12", "--out", str(tmp_path / "out")]
    )
    written = json.loads((tmp_path / "out").read_text())
    assert [row["strategy"] for row in written["rows"]] == ["random", "ours"]
    assert f"| random | {written['rows'][0]['at 5']:.3f} |" in capsys.readouterr().out


def test_ablation_and_limits_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(search, "ABLATED", (QUICK,))
    monkeypatch.setattr(search, "BY_SECONDS", (CHANCE,))
    monkeypatch.setattr(search, "FULL", QUICK)
    search.main(["ablate", "stand-in", "--seeds", "1", "--most", "20", "--out", str(tmp_path / "ablate")])
    search.main(["limits", "stand-in", "--scenarios", "4", "--most", "20", "--out", str(tmp_path / "limits")])
    rows = json.loads((tmp_path / "ablate").read_text())["rows"]
    assert [(row["search"], row["unit"]) for row in rows] == [("ours", "measurements"), ("random", "seconds")]
    (row,) = json.loads((tmp_path / "limits").read_text())["rows"]
    assert (row["scenarios"], row["infeasible"], row["named so"], row["passing a limit"]) == (4, 1, 1, 0)
    assert "| 4 | 1 | 1 |" in capsys.readouterr().out


def test_a_score_is_that_of_the_best_that_is_allowed(tmp_path, capsys):
    search.main(["score", "stand-in", "--out", str(tmp_path / "score")])
    rows = json.loads((tmp_path / "score").read_text())["rows"]
    free, held = rows[:3], rows[3:]
    assert all(row["lost"] <= row["points lost at most"] + 1e-9 for row in rows)
    assert [row["score"] for row in free] == sorted(row["score"] for row in free)
    assert all(one["score"] >= other["score"] for one, other in zip(free, held, strict=True))
    assert "| all | 1.200 |" in capsys.readouterr().out
