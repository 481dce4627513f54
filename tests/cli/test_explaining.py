from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer.testing import Result

from rheostat.core.profile import Profile

if TYPE_CHECKING:
    from tests.cli.conftest import FakeBundle


def test_survivors_are_given_as_numbers(run_json: Callable[..., Any], bundle: FakeBundle) -> None:
    data = run_json("explain", "b", "good film", "--set", "tokens=0.5")

    assert data["settings"] == {"tokens": 0.5}
    assert data["tokens"] == ["[CLS]", "good", "film", "[SEP]"]
    assert data["survivors"] == [[0, 1, 3], [0, 3]]
    assert data["kept"] == [0.75, 0.5]
    assert data["answer"] == "spam (90%)"


def test_people_see_the_text_and_the_map(run: Callable[..., Result], bundle: FakeBundle) -> None:
    result = run("explain", "b", "good film")

    assert "4 tokens at tokens 0.7: spam (90%)" in result.stdout
    assert "[CLS] good film [SEP]" in result.stdout
    assert "██·█" in result.stdout
    assert bundle.calls[0]["tokens"] == 0.7


def test_a_language_model_runs_one_forward(run_json: Callable[..., Any], bundle: FakeBundle) -> None:
    bundle.task = "causal-lm"
    data = run_json("explain", "b", "good film", "--set", "tokens=0.5")

    assert data["answer"] is None
    assert bundle.calls == [{"ids": [1, 2, 3, 4], "tokens": 0.5}]


def test_picture_and_page_are_written(
    run_json: Callable[..., Any], bundle: FakeBundle, profile: Profile, tmp_path: Path
) -> None:
    bundle.profile = profile
    picture, page = tmp_path / "map.png", tmp_path / "report.html"
    data = run_json("explain", "b", "good film", "--picture", picture, "--html", page)

    assert data["files"] == [str(picture), str(page)]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "A note." in page.read_text(encoding="utf-8")
