from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import Result

from rheostat.cli import heavy
from rheostat.core.measurement import Measurement, write_measurements
from rheostat.core.metrics import Metric
from rheostat.core.text import Split, TextData


def measured(configuration: dict[str, Any], seconds: float = 0.1, status: Any = "ok") -> Measurement:
    metrics = {"latency_p50": Metric(seconds, "s", 0.9 * seconds, 1.1 * seconds)} if status == "ok" else {}
    reason = "" if status == "ok" else "it held 9 GiB"
    return Measurement(
        {"name": "small"}, configuration, {"name": "classify"}, {"cpu": "Test CPU"}, status, metrics, reason=reason
    )


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = []

    def bench(models: list[str], workload: Any, configurations: Any, **rest: Any) -> list[Measurement]:
        seen.append({"models": models, "workload": workload, "configurations": configurations, **rest})
        found = [measured({"tokens": 1.0}), measured({"tokens": 0.5}, status="out-of-memory")]
        write_measurements(rest["options"]["out"], found)
        progress = SimpleNamespace(done=1, total=2, latest=found[0], seconds_left=1.0)
        rest["options"]["progress"](progress)
        return found

    def duel(sides: Any, workload: Any, **rest: Any) -> tuple[Measurement, Measurement]:
        seen.append({"sides": sides, "workload": workload, **rest})
        return measured({"tokens": 1.0}), measured({"tokens": 0.5}, 0.05)

    def data(path: Path, task: str, columns: Any, *, seed: int | None, source: str) -> TextData:
        seen.append({"path": path, "task": task, "seed": seed, "source": source})
        return TextData({"validation": Split(["a"], labels=[0])}, "classification", ("x",), notes=("Held out.",))

    monkeypatch.setattr(heavy, "bench", bench)
    monkeypatch.setattr(heavy, "duel", duel)
    monkeypatch.setattr(heavy, "bench_data", data)
    return seen


def test_a_grid_may_be_written_in_one_line(
    run_json: Callable[..., Any], calls: list[dict[str, Any]], tmp_path: Path
) -> None:
    grid = ["--grid", "precision=fp32,int8", "tokens=1,0.5", "--set", "floor=3"]
    data = run_json("bench", "a", "b", "--workload", "classify", *grid, "--out", tmp_path)
    assert calls[0]["models"] == ["a", "b"]
    assert calls[0]["configurations"] == ({"floor": 3}, {"precision": ["fp32", "int8"], "tokens": [1, 0.5]})
    assert [one["status"] for one in data["measurements"]] == ["ok", "out-of-memory"]
    assert "samples" not in data["measurements"][0]


def test_a_page_is_written_and_failures_are_told(
    run: Callable[..., Result], calls: list[dict[str, Any]], tmp_path: Path
) -> None:
    result = run("bench", "a", "--workload", "classify", "--data", "d.parquet", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert "out-of-memory, it held 9 GiB" in result.output
    page = (tmp_path / "leaderboard.html").read_text()
    assert "rheostat bench a --workload classify --data d.parquet --split validation" in page
    assert calls[0] == {"path": Path("d.parquet"), "task": "classification", "seed": None, "source": "a"}


def test_options_reach_the_laboratory(
    run_json: Callable[..., Any], calls: list[dict[str, Any]], tmp_path: Path
) -> None:
    prices = tmp_path / "prices.json"
    prices.write_text('{"cpu": 0.5, "currency": "EUR"}')
    options = ["--rounds", "5", "--memory-limit", "2", "--new-tokens", "7", "--prices", prices, "--tasks", "x,y"]
    run_json("bench", "a", "--workload", "generate", *options, "--out", tmp_path)
    assert calls[0]["method"].rounds == 5
    assert calls[0]["method"].memory_limit == 2 << 30
    assert calls[0]["workload"].new_tokens == 7
    assert calls[0]["options"]["prices"].currency == "EUR"
    assert calls[0]["options"]["tasks"]["names"] == ["x", "y"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a"], "A workload says what is run"),
        (["a", "--workload", "clasify"], "Did you mean.*classify"),
        (["tokens=1", "--workload", "classify"], "measures a model or more"),
        (["a", "--workload", "classify", "--grid", "tokens"], "--grid takes a name and its values"),
        (["a", "--workload", "classify", "--grid", "tokens=1,"], "--grid takes a name and its values"),
        (["a", "--workload", "classify", "--grid", "x=1", "x=2"], "each name once"),
        (["a", "--workload", "classify", "--set", "x=1,2"], "--set takes a name and a value"),
        (["a", "--workload", "classify", "--rounds", "0"], "at least 3 rounds"),
        (["a", "--workload", "classify", "--prices", "nowhere.json"], "Prices are read"),
    ],
)
def test_mistakes_are_told(
    run: Callable[..., Result], calls: list[dict[str, Any]], tmp_path: Path, arguments: list[str], words: str
) -> None:
    result = run("bench", *arguments, "--out", tmp_path)
    assert result.exit_code == 2
    assert re.search(words, result.output.replace("\n", " ")), result.output
    assert not [call for call in calls if "models" in call]


def test_a_comparison_reads_both_sides(run_json: Callable[..., Any], calls: list[dict[str, Any]]) -> None:
    data = run_json("compare", "m", "m@tokens=0.5,precision=int8", "--workload", "classify")
    assert calls[0]["sides"] == (("m", {}), ("m", {"tokens": 0.5, "precision": "int8"}))
    assert data["verdicts"][0]["verdict"] == "better"


def test_people_see_verdicts(run: Callable[..., Result], calls: list[dict[str, Any]]) -> None:
    assert "better" in run("compare", "m", "m@tokens=0.5", "--workload", "classify").output


def test_two_folders_are_compared_where_they_agree(run_json: Callable[..., Any], tmp_path: Path) -> None:
    write_measurements(tmp_path / "a", [measured({"tokens": 1.0}), measured({"tokens": 0.5})])
    write_measurements(tmp_path / "b", [measured({"tokens": 0.5}, 0.2), measured({"tokens": 0.1})])
    data = run_json("compare", tmp_path / "a", tmp_path / "b")
    (only,) = data["comparisons"]
    assert only["configuration"] == {"tokens": 0.5}
    assert only["verdicts"][0]["verdict"] == "worse"


def test_two_folders_with_nothing_in_common(run: Callable[..., Result], tmp_path: Path) -> None:
    write_measurements(tmp_path / "a", [measured({"tokens": 1.0})])
    write_measurements(tmp_path / "b", [measured({"tokens": 0.5})])
    result = run("compare", tmp_path / "a", tmp_path / "b")
    assert result.exit_code == 2
    assert "none in common" in result.output
