"""From pydantic's errors to ours: the rule, where it was broken, and how to mend it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from rheostat.core.errors import SettingError
from rheostat.core.names import suggest
from rheostat.search.places import Places

__all__ = ["AtError", "readable"]

_WORDS: Final[Mapping[str, str]] = {
    "missing": "is needed",
    "greater_than": "is above {gt}",
    "greater_than_equal": "is at least {ge}",
    "string_too_short": "is not empty",
    "int_type": "is a whole number",
    "int_from_float": "is a whole number",
    "float_type": "is a number",
    "float_parsing": "is a number",
    "string_type": "is a text",
    "dict_type": "is keys with their values",
    "mapping_type": "is keys with their values",
    "model_type": "is keys with their values",
    "model_attributes_type": "is keys with their values",
}


class AtError(SettingError):
    """An error inside a value, with the way to it.

    Args:
        path: Keys and numbers that lead from the value that is checked to the place of the error.
        rule: The rule.
        given: What was given instead.
        mend: How to mend it.
    """

    def __init__(self, path: tuple[str | int, ...], rule: str, given: object, mend: str | None) -> None:
        super().__init__(rule, given=given, mend=mend)
        self.path = path


def readable(error: ValidationError, model: type[BaseModel], places: Places) -> SettingError:
    """Return the first problem, by line, as an error of ours.

    Args:
        error: What pydantic found.
        model: What was checked.
        places: Where the parts stand.
    """
    problems = [_problem(detail, model, places) for detail in error.errors(include_url=False)]
    problems.sort(key=lambda problem: problem[0])
    _, rule, given, mend = problems[0]
    more = len(problems) - 1
    if more:
        mend = f"{mend} There {'is one more problem' if more == 1 else f'are {more} more problems'}.".strip()
    return SettingError(rule, given=given or None, mend=mend or None)


def _problem(detail: Any, model: type[BaseModel], places: Places) -> tuple[tuple[int, int], str, str, str]:
    path, kind, cause = _path(detail["loc"], model), detail["type"], detail.get("ctx", {}).get("error")
    given = repr(detail["input"])
    if isinstance(cause, SettingError):
        path = (*path, *getattr(cause, "path", ()))
        rule, mend, given = cause.rule, cause.mend or "", "" if cause.given is None else str(cause.given)
    elif kind == "extra_forbidden":
        rule, given, mend = "A scenario has keys that are known.", repr(path[-1]), _known(path, model)
    elif kind == "literal_error":
        options = re.findall(r"'([^']+)'", detail["ctx"]["expected"])
        rule, mend = f"'{_dotted(path)}' is one of its options.", suggest(str(detail["input"]), options)
    else:
        words = _WORDS.get(kind, "is of another kind").format(**detail.get("ctx", {}))
        rule, mend = f"'{_dotted(path)}' {words}.", ""
        given = "" if kind == "missing" else given
    where = places.of(*path)
    given = ": ".join(part for part in (where, given) if part)
    return _order(path, places), rule, given, mend


def _path(location: tuple[str | int, ...], model: type[BaseModel]) -> tuple[str | int, ...]:
    """Return the part of a location that is in the document: pydantic also names the branches of unions."""
    path: list[str | int] = []
    inside: Any = model
    for step in location:
        fields = _fields(inside)
        if fields is not None:
            path.append(step)
            inside = fields[step].annotation if step in fields else None
        elif isinstance(step, int) or inside is None or _is_mapping(inside):
            path.append(step)
    return tuple(path)


def _is_mapping(annotation: Any) -> bool:
    return "dict" in str(annotation)


def _fields(annotation: Any) -> Any:
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind.model_fields
    return None


def _known(path: tuple[str | int, ...], model: type[BaseModel]) -> str:
    inside: Any = model
    for step in path[:-1]:
        fields = _fields(inside)
        inside = fields[step].annotation if fields is not None and step in fields else None
    return suggest(str(path[-1]), _fields(inside) or ())


def _dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(map(str, path))


def _order(path: tuple[str | int, ...], places: Places) -> tuple[int, int]:
    for length in range(len(path), 0, -1):
        if path[:length] in places.marks:
            return places.marks[path[:length]]
    return (0, 0)
