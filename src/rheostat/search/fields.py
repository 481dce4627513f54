"""The fields of a scenario that people may write in several ways, and how each is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, WithJsonSchema

from rheostat.core.errors import SettingError
from rheostat.core.goals import Limit, Objective
from rheostat.core.knob import Value
from rheostat.core.names import suggest
from rheostat.search.catalogue import catalogue
from rheostat.search.limits import check_limits, limit_of, limit_text, parse_duration, parse_limit
from rheostat.search.problems import AtError
from rheostat.train.data import Columns

__all__ = ["ColumnNames", "Limits", "Objectives", "Overrides", "Seconds", "Whole", "metrics_by_path"]

Whole = Annotated[int, Field(strict=True, ge=1)]
Seconds = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": ["string", "number"], "examples": ["45min", "90s", "2h", 600]}),
]
_OFF: Final = ("off", False)
_ON: Final = ("on", True)


def _columns(given: object) -> object:
    known = [spec.name for spec in fields(Columns)]
    for name in given if isinstance(given, Mapping) else ():
        if name not in known:
            raise AtError((str(name),), "Data has columns that are known.", repr(name), suggest(str(name), known))
    return given


def _limits(given: object) -> object:
    if isinstance(given, str):
        return (parse_limit(given),)
    if isinstance(given, Mapping):
        pairs = [(str(name), text) for name, texts in given.items() for text in _listed(texts)]
        return _sorted([_at((name,), partial(limit_of, name, text)) for name, text in pairs])
    if isinstance(given, Sequence):
        return _sorted([_at((at,), partial(_as_limit, text)) for at, text in enumerate(given)])
    raise SettingError(
        "Limits are a list, or metrics with what is asked of them.",
        given=repr(given),
        mend="Write for instance {latency_p95: 15ms}.",
    )


def _as_limit(given: object) -> Limit:
    if isinstance(given, Limit):
        return given
    if isinstance(given, Mapping) and len(given) == 1:
        ((name, text),) = given.items()
        return limit_of(str(name), text)
    return parse_limit(str(given))


def _sorted(limits: list[Limit]) -> tuple[Limit, ...]:
    check_limits(limits)
    return tuple(sorted(set(limits), key=lambda limit: (limit.metric, limit.bound, limit.relative_to, limit.value)))


def _space(given: object) -> object:
    if not isinstance(given, Mapping):
        raise SettingError(
            "A space is axes with their values.", given=repr(given), mend="Write for instance {tokens: [1, 0.5]}."
        )
    known = catalogue()
    found: dict[str, tuple[Value, ...]] = {}
    for name, asked in given.items():
        if name not in known:
            raise AtError((str(name),), "A space has axes that are known.", repr(name), suggest(str(name), known))
        values = [] if asked in _OFF else _listed(asked)
        if asked in _ON:
            continue
        listed = isinstance(asked, list | tuple)
        checked = [
            _at((name, at) if listed else (name,), partial(known[name].check, value)) for at, value in enumerate(values)
        ]
        found[str(name)] = tuple(dict.fromkeys(_plain_number(value) for value in checked))
    return dict(sorted(found.items()))


def _plain_number(value: Value) -> Value:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _listed(given: object) -> Sequence[Any]:
    return given if isinstance(given, list | tuple) else [given]


def _at(path: tuple[str | int, ...], make: Any) -> Any:
    try:
        return make()
    except SettingError as error:
        raise AtError(path, error.rule, error.given, error.mend) from error


def _objective(name: str) -> str:
    return Objective(name.strip()).metric


def _objectives(given: object) -> object:
    names = _listed(given.split(",") if isinstance(given, str) else given)
    return tuple(_at((at,), partial(_objective, str(name))) for at, name in enumerate(names))


Limits = Annotated[
    tuple[Limit, ...],
    PlainValidator(_limits),
    PlainSerializer(lambda limits: [limit_text(limit) for limit in limits], return_type=list[str]),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": {"type": "string"}},
                {"type": "object", "additionalProperties": {"type": ["string", "number", "array"]}},
            ],
            "examples": [{"latency_p95": "15ms", "accuracy_drop": 1}, ["memory_peak_host <= 80%"]],
        }
    ),
]
Overrides = Annotated[
    dict[str, tuple[Value, ...]],
    PlainValidator(_space),
    PlainSerializer(lambda space: {name: list(values) for name, values in space.items()}, return_type=dict[str, Any]),
    WithJsonSchema({"type": "object"}),
]


ColumnNames = Annotated[dict[str, str], BeforeValidator(_columns)]
Objectives = Annotated[tuple[str, ...], BeforeValidator(_objectives)]


def metrics_by_path(document: Mapping[str, Any]) -> dict[tuple[str | int, ...], str]:
    """Return the metric that each limit and objective of a document is on, by where it stands; all have to be fit."""
    limits, objectives = document.get("limits", ()), document.get("objectives", ())
    found: dict[tuple[str | int, ...], str] = {}
    if isinstance(limits, Mapping):
        found |= {("limits", str(name)): limit_of(str(name), _listed(text)[0]).metric for name, text in limits.items()}
    elif not isinstance(limits, str):
        found |= {("limits", at): _as_limit(text).metric for at, text in enumerate(limits)}
    if not isinstance(objectives, str):
        found |= {("objectives", at): str(name) for at, name in enumerate(objectives or ())}
    return found
