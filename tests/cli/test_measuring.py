from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import Result

from rheostat.cli import heavy
from rheostat.core.profile import Profile

if TYPE_CHECKING:
    from tests.cli.conftest import FakeBundle


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, profile: Profile) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = []

    def load(path: Path, task: str, columns: dict[str, Any], *, seed: int) -> Any:
        seen.append({"path": path, "task": task, "columns": columns, "seed": seed})
        return SimpleNamespace(notes=("Rows were held out.",))

    def measure(bundle: Any, data: Any, settings: Any, *, progress: Callable[[Any], None], resume: bool) -> Any:
        seen.append({**settings, "resume": resume})
        progress(SimpleNamespace(done=0, total=2, point=None, seconds_left=None))
        progress(SimpleNamespace(done=2, total=2, point=profile.points[1], seconds_left=0.0))
        return profile

    monkeypatch.setattr(heavy, "load_data", load)
    monkeypatch.setattr(heavy, "calibrate", measure)
    return seen


def test_only_what_was_given_is_set(
    run_json: Callable[..., Any], bundle: FakeBundle, calls: list[dict[str, Any]]
) -> None:
    options = ("--grid", "1,0.5", "--depths", "4,2", "--cascades", "0.7,0.9", "--words", "1", "--pairs", "3")
    data = run_json("calibrate", "b", "--data", "d.parquet", *options)

    assert calls[1] == {
        "split": "validation",
        "pairs": 3,
        "grid": (1.0, 0.5),
        "depths": (4, 2),
        "cascades": (0.7, 0.9),
        "words": 1.0,
        "seed": 0,
        "resume": True,
    }
    assert [point["tokens"] for point in data["profile"]["points"]] == [1.0, 0.5, 0.1]
    assert data["notes"] == ["Rows were held out."]


def test_seed_and_columns_are_those_of_the_training(
    run_json: Callable[..., Any], bundle: FakeBundle, calls: list[dict[str, Any]]
) -> None:
    bundle.training = {"settings": {"seed": 7, "columns": {"text": "body", "label": "kind"}}}
    run_json("calibrate", "b", "--data", "d.parquet", "--label-column", "class")

    assert calls[0]["seed"] == 7
    assert calls[0]["columns"] == {"text": "body", "label": "class"}


def test_people_see_a_table_and_a_headline(
    run: Callable[..., Result], bundle: FakeBundle, calls: list[dict[str, Any]], tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    result = run("calibrate", "b", "--data", "d.parquet", "--no-resume", "--html", page)

    assert "At tokens 0.5 it runs 2.00x" in result.stdout
    assert "linear model" in result.stdout
    assert "calibrating 2/2, tokens 0.5: 2.00x" in result.stderr
    assert "Note: Rows were held out." in result.stderr
    assert "rheostat calibrate b --data d.parquet" in page.read_text(encoding="utf-8")
    assert calls[1]["resume"] is False


def test_a_grid_that_is_no_numbers_is_refused(
    run: Callable[..., Result], bundle: FakeBundle, calls: list[dict[str, Any]]
) -> None:
    result = run("calibrate", "b", "--data", "d.parquet", "--grid", "1;0.5")

    assert result.exit_code == 2
    assert "--grid takes numbers with commas between. Given: '1;0.5'." in result.stderr
    assert calls == []
