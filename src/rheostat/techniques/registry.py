"""The techniques that exist."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from rheostat.core.errors import SettingError
from rheostat.core.names import suggest
from rheostat.techniques.contract import Technique

__all__ = ["make_technique", "technique_from_json", "techniques"]

_OWN = {
    "tokens": "rheostat.techniques.inference.tokens:TokenPruning",
    "depth": "rheostat.techniques.inference.depth:Depth",
    "exits": "rheostat.techniques.inference.exits:Exits",
    "cascade": "rheostat.techniques.inference.cascade:Cascade",
    "words": "rheostat.techniques.inference.words:Words",
    "cache": "rheostat.techniques.inference.cache:CachePrecision",
    "precision": "rheostat.techniques.inference.precision:Precision",
}
ENTRY_POINTS = "rheostat.techniques"
"""Entry-point group under which other packages register techniques."""


def techniques() -> tuple[type[Technique], ...]:
    """Return every registered technique class, ours first."""
    return tuple(_load(name) for name in _names())


def make_technique(name: str, **settings: Any) -> Technique:
    """Make a technique by name.

    Raises:
        SettingError: If nobody knows the name, or a setting is unknown or unfit.
    """
    if name not in _names():
        raise SettingError("A technique must be a registered one.", given=repr(name), mend=suggest(name, _names()))
    technique = _load(name)
    known = getattr(technique, "__dataclass_fields__", {})
    for setting in settings:
        if setting not in known:
            raise SettingError(f"'{name}' has no such setting.", given=repr(setting), mend=suggest(setting, known))
    return technique(**settings)


def technique_from_json(data: Mapping[str, Any]) -> Technique:
    """Make a technique from what `Technique.to_json` returned."""
    settings = {key: value for key, value in data.items() if key != "name"}
    return make_technique(str(data.get("name")), **settings)


def _names() -> dict[str, str]:
    return {**_OWN, **{entry.name: entry.value for entry in entry_points(group=ENTRY_POINTS)}}


def _load(name: str) -> type[Technique]:
    module, _, attribute = _names()[name].partition(":")
    technique: type[Technique] = getattr(import_module(module), attribute)
    return technique
