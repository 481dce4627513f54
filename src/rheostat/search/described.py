"""What a study is about, kept beside its trials, so that it can be read without the model, the data and the machine."""

from __future__ import annotations

from typing import Final

from rheostat.core.errors import SettingError, StudyError
from rheostat.core.goals import Goals
from rheostat.core.space import Space
from rheostat.search.study import Study

__all__ = ["describe", "described"]

_SPACE: Final = "space"
_GOALS: Final = "goals"


def describe(study: Study, space: Space, goals: Goals) -> None:
    """Keep the space and the goals in a study, in place of what was there."""
    study.note(_SPACE, space.to_json())
    study.note(_GOALS, goals.to_json())


def described(study: Study) -> tuple[Space, Goals]:
    """Return the space and the goals of a study.

    Raises:
        StudyError: If it does not hold them.
    """
    space, goals = study.noted(_SPACE), study.noted(_GOALS)
    try:
        if space is None or goals is None:
            raise SettingError("Both are kept.", given="neither" if space is None else "the space alone")
        return Space.from_json(space), Goals.from_json(goals)
    except SettingError as error:
        raise StudyError(
            "A study holds what it searched and what for.",
            given=f"{study.folder} ({error})",
            mend="Run the same rheostat optimize again: it goes on with what was measured.",
        ) from error
