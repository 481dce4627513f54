"""A configuration's parts: what is learnt, what is loaded, what is turned, and how it is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from rheostat.core.errors import SettingError
from rheostat.core.knob import Value
from rheostat.core.names import suggest
from rheostat.techniques.registry import techniques

__all__ = ["ADAPTER", "BATCH", "RECIPE", "THREADS", "TRAINING", "Parts", "parts_of"]

RECIPE: Final = "recipe"
ADAPTER: Final = "adapter"
BATCH: Final = "batch"
THREADS: Final = "threads"

TRAINING: Final = (RECIPE, ADAPTER, "rank", "alpha", "dropout", "share", "mask", "blocks", "epochs", "learning_rate")
"""Axes of a training: the recipe, the kind of what is trained and its settings, and settings of the fine-tuning."""

_AS_IT_IS: Final = "none"
_OTHER_NAMES: Final = {"last_blocks": "blocks"}


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a configuration.

    Attributes:
        training: What is learnt; configurations that share it share a trained bundle. Empty for a model as it is.
        knobs: What is put on when the bundle is loaded: turning it means loading again.
        dials: What is turned at run time.
        batch: Rows of a request; None for the workload's.
        threads: Threads of torch; None for its own choice.
    """

    training: dict[str, Value] = field(default_factory=dict)
    knobs: dict[str, Value] = field(default_factory=dict)
    dials: dict[str, float] = field(default_factory=dict)
    batch: int | None = None
    threads: int | None = None

    @property
    def judged(self) -> dict[str, Value]:
        """What quality depends on: all but the deployment."""
        return {**self.training, **self.knobs, **self.dials}


def parts_of(configuration: Mapping[str, Value]) -> Parts:
    """Take a configuration apart.

    Raises:
        SettingError: If a name is no axis that can be measured, with the nearest known one; or a value is unfit.

    Example:
        >>> parts_of({"recipe": "plain", "precision": "int8", "tokens": 0.5, "batch": 8}).knobs
        {'precision': 'int8'}
    """
    kinds = techniques()
    dials = {dial.name: dial for kind in kinds for dial in kind.dials}
    knobs = {knob.name: knob for kind in kinds for knob in kind.knobs}
    known = {*TRAINING, *_OTHER_NAMES, *dials, *knobs, BATCH, THREADS}
    found = Parts(batch=_count(configuration, BATCH), threads=_count(configuration, THREADS))
    for name, value in configuration.items():
        if name not in known:
            raise SettingError(
                "A configuration names knobs, dials and choices of a training or a deployment.",
                given=repr(name),
                mend=suggest(name, known),
            )
        if name == RECIPE and value == _AS_IT_IS:
            continue
        if name in TRAINING or name in _OTHER_NAMES:
            found.training[_OTHER_NAMES.get(name, name)] = value
        elif name in dials:
            found.dials[name] = dials[name].check(value)
        elif name in knobs:
            found.knobs[name] = knobs[name].check(value)
    return found


def _count(configuration: Mapping[str, Value], name: str) -> int | None:
    value = configuration.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise SettingError(f"{name} is a whole number from 1.", given=repr(value))
    return value
