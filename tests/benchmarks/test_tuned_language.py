"""Verdicts of a language model are read, and what was judged is printed; what they say is no matter of tests."""

import json
import random
from pathlib import Path

import pandas
import pytest

from benchmarks import tuned_language
from tests.saved import WORDS, save_tiny


@pytest.mark.parametrize(
    ("scores", "right"),
    [([(0.1, False), (0.2, False), (0.9, True)], 3), ([(1.0, True), (2.0, True)], 2), ([(1.0, True), (2.0, False)], 1)],
)
def test_the_threshold_is_right_as_often_as_can_be(scores: list[tuple[float, bool]], right: int) -> None:
    cut = tuned_language.best_threshold(scores)
    assert sum((score > cut) == label for score, label in scores) == right


@pytest.fixture
def data(tmp_path: Path) -> Path:
    drawn = random.Random(0)
    texts = [" ".join(drawn.choices(WORDS, k=drawn.randint(8, 24))) for _ in range(24)]
    labels = ["positive", "negative"] * 12
    frame = pandas.DataFrame({"text": texts, "label": labels, "split": ["train", "train", "test", "test"] * 6})
    frame.to_parquet(tmp_path / "imdb.parquet")
    return tmp_path


def test_judge_speed_and_table(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tuned_language, "VERDICTS", (" w1", " w2"))
    monkeypatch.setattr(tuned_language, "HELD_OUT", 6)
    model = str(save_tiny(tmp_path / "model", "causal-lm"))
    given = [
        "--data",
        str(data),
        "--model",
        model,
        "--bundle",
        model,
        "--results",
        str(tmp_path),
        "--keeps",
        "1",
        "0.6",
    ]
    for name in ("untuned", "tuned"):
        tuned_language.main(["judge", *given, "--models", name, "--reviews", "9"])
    tuned_language.main(["speed", *given, "--pairs", "3"])
    judged = [json.loads((tmp_path / f"tuned-language-ends-{name}.json").read_text()) for name in ("untuned", "tuned")]
    for content in judged:
        assert [(row["keep"], row["reviews"]) for row in content["rows"]] == [(1.0, 9), (0.6, 9)]
        assert all(row["accuracy_95"][0] <= row["accuracy"] <= row["accuracy_95"][1] for row in content["rows"])
    # The same weights twice.
    assert [row["accuracy"] for row in judged[0]["rows"]] == [row["accuracy"] for row in judged[1]["rows"]]
    capsys.readouterr()
    tuned_language.main(["table", *given])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| keep | time to first token, times faster | verdicts, untuned | verdicts, tuned |"
    assert [line.count("|") for line in lines] == [5] * 4
    assert "%" in lines[-1]
    assert " to " in lines[-1].split("|")[2]
