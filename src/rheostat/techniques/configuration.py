"""Configurations: one flat mapping from names of knobs and dials to values, put on a model in one go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from torch import nn

from rheostat.core.dial import Dial
from rheostat.core.errors import SettingError
from rheostat.core.knob import Knob, Value
from rheostat.core.names import suggest
from rheostat.models.families import locate
from rheostat.techniques.contract import Conversion, Technique
from rheostat.techniques.handle import Handle, attach
from rheostat.techniques.registry import techniques

__all__ = ["checked_configuration", "configure", "neutral_configuration", "techniques_of"]


def configure(model: nn.Module, configuration: Mapping[str, Any], *, keep_originals: bool = True) -> Handle:
    """Put on a model the techniques that a configuration names, in the right order, and turn its dials.

    Args:
        model: A Transformers model of a supported family.
        configuration: A value for each knob or dial to set, by name; what is left out stays at neutral. An empty one
            attaches the token dial at neutral.
        keep_originals: Whether conversions keep the original weights, so that the handle can be detached. Without
            them the memory of the model really shrinks.

    Raises:
        SettingError: If a name is unknown (with the nearest known one) or a value out of its domain.
        UnsupportedModelError: If the model's family or set-up is not supported.

    Example:
        >>> handle = configure(model, {"precision": "int8", "tokens": 0.5})  # doctest: +SKIP
    """
    checked = checked_configuration(configuration)
    # A range that depends on the model is checked before anything is put on.
    for dial in (part for name in checked for part in _parts()[name] if isinstance(part, Dial) and not part.is_bound):
        dial.bound(len(locate(model).blocks)).check(checked[dial.name])
    handle = attach(model, *techniques_of(checked, keep_originals=keep_originals))
    dials = {dial.name for dial in handle.dials}
    handle.set(**{name: float(value) for name, value in checked.items() if name in dials})
    return handle


def techniques_of(configuration: Mapping[str, Any], *, keep_originals: bool = True) -> tuple[Technique, ...]:
    """Return the techniques that a configuration names, with their knobs set, in the order in which they go on.

    Raises:
        SettingError: If a name is unknown or a value out of its domain.
    """
    checked = checked_configuration(configuration)
    made = []
    for kind in techniques():
        if not {part.name for part in _parts_of(kind)} & checked.keys():
            continue
        settings: dict[str, Any] = {knob.name: checked[knob.name] for knob in kind.knobs if knob.name in checked}
        if "keep_originals" in {each.name for each in fields(kind)}:  # type: ignore[arg-type]
            settings["keep_originals"] = keep_originals
        made.append(kind(**settings))
    return tuple(sorted(made, key=lambda technique: not isinstance(technique, Conversion)))


def checked_configuration(configuration: Mapping[str, Any]) -> dict[str, Value]:
    """Return the configuration with every name known and every value in its domain.

    Raises:
        SettingError: If a name is unknown (with the nearest known one) or a value out of its domain.

    Example:
        >>> checked_configuration({"tokens": 1, "scorer": "mean"})
        {'tokens': 1.0, 'scorer': 'mean'}
    """
    parts = _parts()
    return {name: _part(parts, name).check(value) for name, value in configuration.items()}


def neutral_configuration(names: Iterable[str], blocks: int | None = None) -> dict[str, Value]:
    """Return the value of each named knob or dial at which the model is the plain one.

    Args:
        names: Names of knobs and dials.
        blocks: How many blocks the model has, which is neutral for depth; where it is not known, depth is left out,
            and so stays at neutral.

    Raises:
        SettingError: If a name is unknown; with the nearest known one.

    Example:
        >>> neutral_configuration(["tokens", "precision"])
        {'tokens': 1.0, 'precision': 'fp32'}
    """
    parts = _parts()
    found = {name: _part(parts, name) for name in names}
    known = {
        name: part if isinstance(part, Knob) or blocks is None else part.bound(blocks) for name, part in found.items()
    }
    return {name: part.neutral for name, part in known.items() if isinstance(part, Knob) or part.is_bound}


def _parts_of(kind: type[Technique]) -> list[Knob | Dial]:
    return [*kind.dials, *kind.knobs]


def _parts() -> dict[str, list[Knob | Dial]]:
    """Return all knobs and dials by name."""
    found: dict[str, list[Knob | Dial]] = {}
    for kind in techniques():
        for part in _parts_of(kind):
            found.setdefault(part.name, []).append(part)
    return found


def _part(parts: Mapping[str, list[Knob | Dial]], name: str) -> Knob | Dial:
    if name not in parts:
        raise SettingError(
            "A configuration names knobs and dials of registered techniques.",
            given=repr(name),
            mend=suggest(str(name), parts),
        )
    if len(parts[name]) > 1:
        raise SettingError(
            "The name of a knob or dial belongs to one technique.",
            given=f"'{name}', which {len(parts[name])} registered techniques claim",
            mend="Attach the one you mean by hand, or uninstall the package of the other.",
        )
    return parts[name][0]
