"""Scenarios from flags: the same as a file says, in the words of the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from rheostat.core.errors import SettingError
from rheostat.core.knob import value_of
from rheostat.core.names import suggest
from rheostat.search.limits import limit_of, limit_text, parse_limit
from rheostat.search.scenario import Scenario

__all__ = ["scenario_from_flags"]

_PLACES: Final[Mapping[str, tuple[str, ...]]] = {
    **{name: (name,) for name in ("model", "task", "objectives", "budget", "seed", "strategy", "workers", "executor")},
    "data": ("data", "path"),
    "columns": ("data", "columns"),
    "split": ("data", "split"),
    "workload": ("workload", "name"),
    "batch_size": ("workload", "rows"),
    **{name: ("workload", name) for name in ("max_length", "requests", "prompt_tokens", "new_tokens")},
    **{
        name: ("measure", name)
        for name in ("rounds", "sittings", "round_seconds", "validation_rows", "time_limit", "device")
    },
    "train_minutes": ("train", "minutes"),
    "train_rows": ("train", "rows"),
    **{name: ("train", name) for name in ("epochs", "learning_rate")},
    "prices": ("prices",),
}
"""Where in a scenario each flag belongs."""

_LIMITS: Final = ("latency_p50", "latency_p95", "accuracy_drop", "memory", "energy")
"""Flags that are limits of their own."""

_SPECIAL: Final = ("limit", "space")


def scenario_from_flags(flags: Mapping[str, Any], base: Scenario | None = None) -> Scenario:
    """Return the scenario that flags describe; equal to the one that a file with the same content describes.

    Args:
        flags: Names of options, with underscores, to what was given; what is None counts as not given. ``limit`` is a
            list of texts as `rheostat.search.limits.parse_limit` reads them, ``space`` a list of ``AXIS=VALUES``,
            values with commas between, or ``AXIS=off``.
        base: What the flags change; None for nothing. A limit takes the place of one on the same metric and side.

    Raises:
        SettingError: If a flag is unknown or unfit.

    Example:
        >>> flags = {"model": "m", "data": "d.csv", "latency_p95": "15ms", "space": ["tokens=1,0.5"]}
        >>> made = scenario_from_flags(flags)
        >>> made.space, made.limits[0].value
        ({'tokens': (1, 0.5)}, 0.015)
    """
    given = {name: value for name, value in flags.items() if value is not None and value != []}
    known = [*_PLACES, *_LIMITS, *_SPECIAL]
    for name in given:
        if name not in known:
            raise SettingError("A scenario's flags are known.", given=repr(name), mend=suggest(name, known))
    document = {} if base is None else _without_defaults_of_task(base.to_json(), given)
    for name, place in _PLACES.items():
        if name in given:
            _put(document, place, given[name])
    document["limits"] = _limits(document.get("limits", []), given)
    document["space"] = {**document.get("space", {}), **_space(given.get("space", ()))}
    return Scenario.from_json(document)


def _without_defaults_of_task(document: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    if given.get("task", document["task"]) != document["task"]:
        del document["objectives"], document["workload"]["name"]
    return document


def _put(document: dict[str, Any], place: tuple[str, ...], value: Any) -> None:
    *folders, name = place
    for folder in folders:
        document = document.setdefault(folder, {})
    document[name] = value


def _limits(before: Iterable[str], given: Mapping[str, Any]) -> list[str]:
    added = [limit_of(name, given[name]) for name in _LIMITS if name in given]
    added += [parse_limit(text) for text in given.get("limit", ())]
    replaced = {(limit.metric, limit.bound) for limit in added}
    kept = [limit for limit in map(parse_limit, before) if (limit.metric, limit.bound) not in replaced]
    return [limit_text(limit) for limit in (*kept, *added)]


def _space(given: Mapping[str, Any] | Iterable[str]) -> dict[str, Any]:
    if isinstance(given, Mapping):
        return dict(given)
    found: dict[str, Any] = {}
    for text in (part for one in given for part in one.split()):
        name, sign, values = text.partition("=")
        if not sign or not name or not values or name in found:
            raise SettingError(
                "An axis of the space has a name and values, each name once.",
                given=repr(text),
                mend="Write for instance tokens=1,0.5 or cache=off.",
            )
        parts = [value_of(part) for part in values.split(",")]
        found[name] = parts[0] if parts in (["off"], ["on"]) else parts
    return found
