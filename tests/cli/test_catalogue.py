from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import Result

from rheostat.models.families import families
from rheostat.techniques.registry import techniques


def test_models_lists_every_family(run_json: Callable[..., Any]) -> None:
    rows = run_json("models")["models"]

    assert [row["model_type"] for row in rows] == [family.model_type for family in families()]
    assert {row["kind"]: row["tasks"] for row in rows}["encoder"] == ["classification"]
    assert {row["kind"]: row["tasks"] for row in rows}["decoder"] == ["classification", "causal-lm"]


def test_techniques_lists_every_technique_with_its_dials_and_knobs(run_json: Callable[..., Any]) -> None:
    rows = run_json("techniques")["techniques"]

    assert [row["name"] for row in rows] == [technique.name for technique in techniques()]
    assert rows[0]["dials"][0]["name"] == "tokens"
    assert rows[0]["dials"][0]["range"] == "(0, 1]"
    knobs = {knob["name"]: knob for row in rows for knob in row["knobs"]}
    assert knobs["precision"]["neutral"] == "fp32"
    assert "int8-weight" in knobs["precision"]["domain"]
    assert knobs["floor"] == {
        "name": "floor",
        "what": "least number of states a block keeps of a row",
        "domain": "whole numbers from 1",
        "neutral": 5,
    }


@pytest.mark.parametrize(("command", "word"), [("models", "GPT-2"), ("techniques", "neutral")])
def test_people_see_a_table(run: Callable[..., Result], command: str, word: str) -> None:
    assert word in run(command).stdout
