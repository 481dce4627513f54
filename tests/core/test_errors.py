"""Errors say the rule, what was given, and how to mend it; and they are caught by what they are."""

from __future__ import annotations

import pickle

import pytest

from rheostat.core import errors
from rheostat.core.errors import RheostatError

KINDS = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize(
    ("given", "mend", "text"),
    [
        (None, None, "A rule."),
        (1.5, None, "A rule. Given: 1.5."),
        (0, None, "A rule. Given: 0."),
        ("", None, "A rule. Given: ."),
        (None, "Do this.", "A rule. Do this."),
        ((2, 3), "Do this.", "A rule. Given: (2, 3). Do this."),
    ],
)
def test_the_text(given: object, mend: str | None, text: str) -> None:
    error = RheostatError("A rule.", given=given, mend=mend)
    assert str(error) == text
    assert (error.rule, error.given, error.mend) == ("A rule.", given, mend)


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_one_root(kind: type[RheostatError]) -> None:
    with pytest.raises(RheostatError, match="A rule"):
        raise kind("A rule.")


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.SettingError, ValueError),
        (errors.DataError, ValueError),
        (errors.UnsupportedModelError, TypeError),
        (errors.CacheError, RuntimeError),
        (errors.TrainingError, RuntimeError),
        (errors.MeasurementError, RuntimeError),
    ],
)
def test_python_s_own_kinds_catch_them_too(kind: type[RheostatError], builtin: type[Exception]) -> None:
    assert issubclass(kind, builtin)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_comes_whole_out_of_another_process(kind: type[RheostatError]) -> None:
    error = kind("A rule.", given=3, mend="Do this.")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert (again.rule, again.given, again.mend) == ("A rule.", 3, "Do this.")
