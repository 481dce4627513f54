from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import Result

from rheostat.cli import heavy
from rheostat.core.profile import Profile

if TYPE_CHECKING:
    from tests.cli.conftest import FakeBundle

Run = Callable[..., Result]


def test_texts_are_classified_at_the_setting_asked_for(run_json: Callable[..., Any], bundle: FakeBundle) -> None:
    bundle.noisy = True
    data = run_json("predict", "b", "one", "two", "--set", "tokens=0.5")

    assert data["settings"] == {"tokens": 0.5}
    assert [row["text"] for row in data["predictions"]] == ["one", "two"]
    assert data["predictions"][0]["label"] == "spam"
    assert bundle.calls == [{"texts": ["one", "two"], "pairs": None, "batch_size": 16, "tokens": 0.5}]


def test_people_see_a_table(run: Run, bundle: FakeBundle) -> None:
    result = run("predict", "b", "[bold]one[/bold]", "--set", "tokens=0.5")

    assert "[bold]one[/bold]" in result.stdout
    assert "90.0%" in result.stdout
    assert "(tokens 0.5)" in result.stdout


def test_a_speed_is_looked_up_in_the_profile(
    run_json: Callable[..., Any], bundle: FakeBundle, profile: Profile
) -> None:
    bundle.profile = profile

    assert run_json("predict", "b", "one", "--speed", "2")["settings"] == {"tokens": 0.5}


def test_a_speed_without_a_profile_is_refused(run: Run, bundle: FakeBundle) -> None:
    result = run("predict", "b", "one", "--speed", "2")

    assert result.exit_code == 2
    assert "rheostat calibrate" in result.stderr


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("token=0.5", "Did you mean 'tokens'?"),
        ("tokens=1.5", "The dial 'tokens' lies in (0, 1]. Given: 1.5."),
        ("tokens=much", "--set takes DIAL=VALUE. Given: 'tokens=much'."),
        ("tokens", "--set takes DIAL=VALUE. Given: 'tokens'."),
        ("tokens=nan", "The dial 'tokens' lies in (0, 1]. Given: nan."),
    ],
)
@pytest.mark.parametrize("command", ["predict", "generate", "explain"])
def test_a_wrong_setting_is_explained(run: Run, bundle: FakeBundle, command: str, given: str, message: str) -> None:
    result = run(command, "b", "text", "--set", given)

    assert result.exit_code == 2
    assert message in result.stderr
    assert bundle.calls == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("texts.txt", "one\n\ntwo\n"),
        ("texts.jsonl", '{"text": "one"}\n{"text": "two"}\n'),
        ("texts.csv", "text,label\none,a\ntwo,b\n"),
    ],
)
def test_texts_come_from_a_file(
    run_json: Callable[..., Any], bundle: FakeBundle, tmp_path: Path, name: str, content: str
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    run_json("predict", "b", "--file", tmp_path / name)

    assert bundle.calls[0]["texts"] == ["one", "two"]


def test_pairs_come_from_a_file(run_json: Callable[..., Any], bundle: FakeBundle, tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text('{"a": "one", "b": "two"}\n', encoding="utf-8")
    run_json("predict", "b", "--file", tmp_path / "pairs.jsonl", "--text-column", "a", "--pair-column", "b")

    assert (bundle.calls[0]["texts"], bundle.calls[0]["pairs"]) == (["one"], ["two"])


def test_texts_come_from_standard_input(run: Run, bundle: FakeBundle) -> None:
    result = run("predict", "b", input="one\ntwo\n")

    assert result.exit_code == 0
    assert bundle.calls[0]["texts"] == ["one", "two"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "b"], "at least one text"),
        (["predict", "b", "x", "--file", "y.txt"], "from the command line or from --file"),
        (["predict", "b", "--file", "missing.txt"], "missing.txt"),
        (["predict", "b", "--file", "missing.parquet"], "missing.parquet"),
        (["predict", "b", "x", "--pair-column", "c"], "--pair-column alone"),
        (["generate", "b", ""], "at least one letter"),
        (["explain", "b", " "], "at least one letter"),
    ],
)
def test_unfit_input_is_refused(run: Run, bundle: FakeBundle, arguments: list[str], message: str) -> None:
    result = run(*arguments)

    assert result.exit_code == 2
    assert message in result.stderr


def test_predictions_go_to_a_file(run_json: Callable[..., Any], bundle: FakeBundle, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    data = run_json("predict", "b", "one", "zwei ä", "--out", path)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    assert (data["out"], data["rows"]) == (str(path), 2)
    assert [row["text"] for row in rows] == ["one", "zwei ä"]
    assert "predictions" not in data


def test_text_is_written_as_it_comes(run: Run, bundle: FakeBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heavy, "text_streamer", lambda tokenizer: print)
    result = run("generate", "b", "Call me", "--set", "tokens=0.5", "--max-new-tokens", "8")

    assert result.stdout == " Ishmael.\n"
    assert bundle.calls == [{"prompt": "Call me", "max_new_tokens": 8, "tokens": 0.5, "do_sample": False}]


def test_generated_text_is_json_and_nothing_is_streamed(
    run_json: Callable[..., Any], bundle: FakeBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []
    monkeypatch.setattr(heavy, "set_seed", seeds.append)
    data = run_json("generate", "b", "Call me", "--temperature", "0.7", "--seed", "3")

    assert (data["prompt"], data["text"]) == ("Call me", " Ishmael.")
    assert seeds == [3]
    assert (bundle.calls[0]["do_sample"], bundle.calls[0]["temperature"]) == (True, 0.7)


def test_a_prompt_comes_from_standard_input(run: Run, bundle: FakeBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heavy, "text_streamer", lambda tokenizer: print)
    run("generate", "b", "-", input="Call me")

    assert bundle.calls[0]["prompt"] == "Call me"


def test_exits_tell_the_depth_of_each_text(run: Run, run_json: Callable[..., Any], bundle: FakeBundle) -> None:
    data = run_json("predict", "b", "one", "two", "--exits")

    assert bundle.calls[0]["exits"] is True
    assert (data["mean_depth"], [row["depth"] for row in data["predictions"]]) == (3.0, [3, 3])
    assert "mean depth 3.00" in run("predict", "b", "one", "--exits").stdout
    assert "depth" not in run("predict", "b", "one").stdout


@pytest.mark.parametrize(
    ("option", "asked", "told"),
    [
        (["--exits"], {"exits": True, "draft_depth": None}, "mean depth 2.50"),
        (["--draft-depth", "2"], {"exits": False, "draft_depth": 2}, "75% of what was drafted was kept"),
    ],
)
def test_text_is_decoded_by_exits_or_drafts(
    run: Run, bundle: FakeBundle, option: list[str], asked: dict[str, Any], told: str
) -> None:
    result = run("generate", "b", "Call me", *option, "--set", "tokens=0.5", "--max-new-tokens", "8")

    assert result.stdout == " Ishmael.\n"
    assert told in result.stderr
    assert bundle.calls == [{"prompt": "Call me", "max_new_tokens": 8, "tokens": 0.5, "do_sample": False, **asked}]


def test_drafts_are_not_drawn(run: Run, bundle: FakeBundle) -> None:
    result = run("generate", "b", "Call me", "--draft-depth", "2", "--temperature", "0.5")

    assert result.exit_code == 2
    assert "likeliest token. Given: --temperature 0.5. Leave --temperature out." in " ".join(result.stderr.split())
    assert bundle.calls == []
