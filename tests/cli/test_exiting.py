from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import Result

from rheostat.bundle import SavedExits
from rheostat.cli import heavy
from rheostat.core.exits import ExitRule

if TYPE_CHECKING:
    from tests.cli.conftest import FakeBundle


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = []

    def load(path: Path, task: str, columns: dict[str, Any], *, seed: int) -> Any:
        seen.append({"path": path, "columns": columns, "seed": seed})
        return SimpleNamespace(notes=("Rows were held out.",))

    def choose(bundle: Any, data: Any, split: str, settings: Any, **wanted: Any) -> Any:
        seen.append({"split": split, "settings": settings, **wanted})
        rule = ExitRule({2: 0.9, 4: 2.0}, wanted["criterion"])
        return SavedExits(rule, 6, wanted["mean_depth"], 3.2, data={"rows": 8}), Path("b/exits.json")

    monkeypatch.setattr(heavy, "load_data", load)
    monkeypatch.setattr(heavy, "choose_exits", choose)
    return seen


ASK = ("exits", "b", "--data", "d.parquet", "--depths", "2,4", "--mean-depth", "3")


def test_what_is_asked_for_is_chosen(
    run_json: Callable[..., Any], bundle: FakeBundle, calls: list[dict[str, Any]]
) -> None:
    bundle.training = {"settings": {"seed": 7, "columns": {"text": "body"}}}
    data = run_json(*ASK, "--criterion", "similarity", "--set", "tokens=0.5")

    assert calls[0] == {"path": Path("d.parquet"), "columns": {"text": "body"}, "seed": 7}
    assert calls[1] == {
        "split": "validation",
        "settings": {"tokens": 0.5},
        "depths": [2, 4],
        "mean_depth": 3.0,
        "criterion": "similarity",
    }
    assert data["exits"]["thresholds"] == {"2": 0.9, "4": 2.0}
    assert data["files"] == ["b/exits.json"]


def test_people_see_thresholds(run: Callable[..., Result], bundle: FakeBundle, calls: list[dict[str, Any]]) -> None:
    result = run(*ASK)

    assert "0.9000" in result.stdout
    assert "never" in result.stdout
    assert "Mean depth 3.20 of 6 blocks on 8 of validation; 3 was wanted." in result.stdout


def test_depths_are_whole_numbers(run: Callable[..., Result], bundle: FakeBundle, calls: list[dict[str, Any]]) -> None:
    result = run("exits", "b", "--data", "d.parquet", "--depths", "2,x", "--mean-depth", "3")

    assert result.exit_code == 2
    assert "--depths takes whole numbers with commas between. Given: '2,x'." in result.stderr
    assert calls == []
