"""Answers are kept, and a part of the rows is judged by what is known of all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rheostat.core.errors import MeasurementError
from rheostat.core.text import TextData
from rheostat.core.workload import Data, Workload
from rheostat.search.qualities import Qualities
from tests.saved import make_data

FACTS = {"sha256": "0123"}


def of(folder: Path, data: TextData, **workload: int) -> Qualities:
    return Qualities(folder, Data(data), Workload("classify", **workload))


def answers(guesses: list[int]) -> dict[str, list[object]]:
    return {"guesses": [[guess] for guess in guesses], "confidences": [0.9] * len(guesses), "losses": []}


def labels_of(qualities: Qualities, fidelity: float) -> list[int]:
    file, count = qualities.question(fidelity)
    assert count is None
    labels: list[int] = json.loads(file.read_text())["labels"]
    return labels


def test_answers_are_remembered_by_what_they_depend_on(tmp_path: Path, data: TextData) -> None:
    qualities = of(tmp_path, data)
    labels = labels_of(qualities, 1.0)
    assert len(labels) == 8
    assert qualities.find(FACTS, {"tokens": 0.5}, 1.0) is None
    guesses = [1 - labels[0], *labels[1:]]
    kept = qualities.keep(FACTS, {"tokens": 0.5}, 1.0, answers(guesses))
    assert kept.metrics["accuracy"].value == 7 / 8
    assert kept.samples["right"] == [0, 1, 1, 1, 1, 1, 1, 1]
    again = of(tmp_path, data)
    assert again.find(FACTS, {"tokens": 0.5}, 1.0) == kept
    for facts, judged in (({"sha256": "4567"}, {"tokens": 0.5}), (FACTS, {"tokens": 0.6})):
        assert again.find(facts, judged, 1.0) is None
    assert of(tmp_path, make_data(rows=24, words=9)).find(FACTS, {"tokens": 0.5}, 1.0) is None


def test_a_lower_fidelity_judges_the_beginning(tmp_path: Path, data: TextData) -> None:
    qualities = of(tmp_path, data)
    labels = labels_of(qualities, 1.0)
    assert labels_of(qualities, 0.25) == labels[:2]
    assert labels_of(qualities, 0.001) == labels[:1]
    part = qualities.keep(FACTS, {}, 0.25, answers(labels[:2]))
    assert part.samples["right"] == [1, 1]
    assert qualities.find(FACTS, {}, 1.0) is None
    qualities.keep(FACTS, {}, 1.0, answers([*labels[:3], *(1 - label for label in labels[3:])]))
    half = of(tmp_path, data).find(FACTS, {}, 0.5)
    assert half is not None
    assert half.samples["right"] == [1, 1, 1, 0]


def test_the_rows_are_in_one_random_order(tmp_path: Path, data: TextData) -> None:
    texts = json.loads(of(tmp_path, data).question(1.0)[0].read_text())["texts"]
    assert sorted(texts) == sorted(data.split("validation").texts)
    assert texts != data.split("validation").texts
    assert len(labels_of(of(tmp_path / "few", data, quality_rows=5), 1.0)) == 5


def test_damaged_and_foreign_answers(tmp_path: Path, data: TextData) -> None:
    qualities = of(tmp_path, data)
    labels = labels_of(qualities, 1.0)
    qualities.keep(FACTS, {}, 1.0, answers(labels))
    (file,) = (file for file in tmp_path.glob("*.json") if not file.name.startswith("rows"))
    file.write_text("{")
    assert of(tmp_path, data).find(FACTS, {}, 1.0) is None
    with pytest.raises(MeasurementError):
        qualities.keep(FACTS, {}, 1.0, {"guesses": []})


def test_language_models_are_judged_by_windows(tmp_path: Path) -> None:
    data = make_data("causal-lm", words=60)
    qualities = Qualities(tmp_path, Data(data), Workload("prefill", quality_rows=4))
    file, count = qualities.question(0.5)
    assert count == 2
    assert json.loads(file.read_text())["texts"] == data.split("validation").texts
    kept = qualities.keep(FACTS, {}, 0.5, {"guesses": [[1], [2]], "confidences": [], "losses": [0.0, 0.0]})
    assert kept.metrics["perplexity"].value == 1.0
    assert kept.samples["losses"] == [0.0, 0.0]
