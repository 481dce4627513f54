"""Settings of the token dial: what is refused, whatever its type."""

from __future__ import annotations

from typing import Any

import pytest

from rheostat.core.errors import SettingError
from rheostat.techniques import TokenPruning, technique_from_json


@pytest.mark.parametrize("value", [None, 5, 0.5, True, ["attention"], {}, "", "Attention"])
@pytest.mark.parametrize("name", ["scorer", "protect"])
def test_a_name_that_is_none_is_refused_with_the_known_ones(name: str, value: Any) -> None:
    with pytest.raises(SettingError, match=r"Known: "):
        TokenPruning(**{name: value})
    with pytest.raises(SettingError, match=r"Known: "):
        technique_from_json({"name": "tokens", name: value})


@pytest.mark.parametrize("value", [None, 0, -1, 5.0, True, "5", float("nan")])
def test_a_floor_is_a_whole_number_from_one(value: Any) -> None:
    with pytest.raises(SettingError, match="'floor' .* whole numbers from 1; 5 is neutral."):
        TokenPruning(floor=value)


@pytest.mark.parametrize("value", [None, -0.1, 4.1, True, "1", float("nan"), float("inf")])
def test_a_decay_is_a_number_from_zero_to_four(value: Any) -> None:
    with pytest.raises(SettingError, match="'decay' .* numbers from 0 to 4; 1 is neutral."):
        TokenPruning(decay=value)


def test_what_was_written_before_there_was_a_decay_has_that_of_the_paper() -> None:
    assert technique_from_json({"name": "tokens", "floor": 3}) == TokenPruning(floor=3, decay=1.0)


@pytest.mark.parametrize("data", [{}, {"name": None}, {"name": ["tokens"]}, {"name": "tokens", "flor": 5}])
def test_json_of_something_else_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(SettingError):
        technique_from_json(data)
