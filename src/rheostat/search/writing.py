"""Scenarios as YAML files with a comment for every key."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from textwrap import indent
from typing import Any

from pydantic import BaseModel

from rheostat.search.limits import duration_text
from rheostat.search.scenario import Scenario

__all__ = ["scenario_text"]

_HEAD = """\
# What rheostat is to search. A key that is commented out shows what is taken where nothing is said, or an example.
#
# Show what would be tried:  rheostat space {place}
# Try it:                    rheostat optimize {place}
"""
_ALWAYS = ("model", "data", "path", "task", "budget")
_DURATIONS = ("budget", "time_limit")
_EXAMPLES = {
    "limits": "[latency_p95 <= 15ms, accuracy >= baseline - 1pt, memory_peak_host <= 80%]",
    "space": "{tokens: [1, 0.5], precision: [fp32, int8], cache: off}",
    "columns": "{text: review, label: sentiment}",
    "prices": "{cpu: 0.10, currency: USD}",
}


def scenario_text(scenario: Scenario, place: str = "scenario.yaml") -> str:
    """Return a scenario as commented YAML, which `rheostat.search.scenario.read_scenario` reads back as an equal one.

    Args:
        scenario: The scenario.
        place: The file's name, for the commands in its head.
    """
    usual = Scenario.from_json({"model": scenario.model, "data": scenario.data.path, "task": scenario.task})
    entries = _entries(scenario, scenario.to_json(), usual.to_json())
    return _HEAD.format(place=place) + "".join(f"\n{entry}\n" for entry in entries)


def _entries(part: BaseModel, values: Mapping[str, Any], usual: Mapping[str, Any]) -> Iterator[str]:
    """Yield each key of a part with its comment; commented out where it has its usual value."""
    for name, spec in type(part).model_fields.items():
        inside, value = getattr(part, name), values[name]
        said = name in _ALWAYS or value != usual[name]
        if isinstance(inside, BaseModel):
            below = indent("\n".join(_entries(inside, value, usual[name])), "  ")
            # Under a key that is commented out nothing else may stand.
            text = f"{name}:\n{below}" if said else f"# {name}:\n{below.replace('  # ', '#   ')}"
        else:
            shown = _value(name, value)
            text = f"{name}: {shown}" if said else f"# {name}: {_EXAMPLES.get(name, shown)}"
        yield f"# {spec.description}\n{text}"


def _value(name: str, value: Any) -> str:
    if name in _DURATIONS:
        return duration_text(value)
    if name == "space":
        axes = (f"{axis}: {json.dumps(values) if values else 'off'}" for axis, values in value.items())
        return f"{{{', '.join(axes)}}}"
    # JSON is YAML, and quotes what YAML would read as something else.
    return json.dumps(value, ensure_ascii=False)
