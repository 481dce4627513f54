"""What a configuration is taken apart into."""

from __future__ import annotations

import pytest

from rheostat.core.errors import SettingError
from rheostat.search.parts import Parts, parts_of


def test_each_name_has_its_part() -> None:
    parts = parts_of(
        {"recipe": "plain", "adapter": "lora", "rank": 4, "precision": "int8", "tokens": 1, "batch": 8, "threads": 2}
    )
    assert parts == Parts(
        {"recipe": "plain", "adapter": "lora", "rank": 4}, {"precision": "int8"}, {"tokens": 1.0}, 8, 2
    )
    assert set(parts.judged) == {"recipe", "adapter", "rank", "precision", "tokens"}
    assert parts_of({}) == Parts()


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        ({"token": 0.5}, "Did you mean 'tokens'"),
        ({"tokens": 0.0}, r"\(0, 1\]"),
        ({"precision": "int9"}, "int8"),
        ({"batch": 0}, "whole number from 1"),
        ({"threads": 1.5}, "whole number from 1"),
        ({"batch": True}, "whole number from 1"),
    ],
)
def test_what_is_unfit_is_refused(configuration: dict[str, float], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        parts_of(configuration)
