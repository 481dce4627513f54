"""Every axis that a search could have, before a model and a machine narrow it; `rheostat.search.spaces` does that."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from rheostat.core.dial import Dial
from rheostat.core.errors import SettingError
from rheostat.core.knob import Knob, Value
from rheostat.core.names import suggest
from rheostat.core.space import Stage
from rheostat.techniques.contract import Technique
from rheostat.techniques.registry import techniques
from rheostat.train.adapters.trainable import Kind, Mask, Trainable
from rheostat.train.recipes import read_recipe, shipped

__all__ = [
    "AS_IT_IS",
    "STEPS",
    "Source",
    "catalogue",
    "choices_of",
    "grid_around",
    "grid_between",
    "grid_of",
    "neutral_of",
]

AS_IT_IS: Final = "none"
"""The recipe of a model that is not trained at all, but run as it comes."""

STEPS: Final = 10
"""Values of a range, where nothing else is preferred."""

_PREFERRED: Final[Mapping[str, tuple[Value, ...]]] = {
    # What these change is small beside the dial that they belong to, and each would multiply the space.
    "floor": (5,),
    "scorer": ("attention",),
    "protect": ("auto",),
    # A trained bundle brings its own, which holds as long as no configuration names it.
    "decay": (1.0,),
    "entry": (0.0,),
    "entry_scorer": ("salience",),
    # "auto" is the fastest of them, measured on this machine.
    "backend": ("auto",),
    "exit": (0.8, 0.9, 0.95, 0.99, 1.0),
    "exit_every": (2,),
    "cascade": (0.0, 0.8, 0.95),
    "words": (0.0, 1.0),
    "share": (0.02,),
    "mask": ("snip",),
    "rank": (4, 8, 16, 32),
    "blocks": (1, 2, 4),
    "batch": (1, 2, 4, 8, 16, 32),
}
"""Values to try where those of the whole domain would be too many, or too few."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where an axis comes from.

    Attributes:
        name: The axis.
        stage: When it is chosen.
        what: What it sets, for people.
        check: Returns a value of its domain as it is written in configurations; raises SettingError for others.
        part: The technique's knob or dial; None where it is none.
        technique: The technique that it belongs to; None likewise.
        adapters: The kinds of `Trainable` that use it; empty where it is not about adapters.
    """

    name: str
    stage: Stage
    what: str
    check: Callable[[object], Value]
    part: Knob | Dial | None = None
    technique: type[Technique] | None = None
    adapters: tuple[str, ...] = ()

    @property
    def preferred(self) -> tuple[Value, ...]:
        """The values that are tried unless the whole domain is; empty where nothing is preferred."""
        return _PREFERRED.get(self.name, ()) if self._own else ()

    @property
    def _own(self) -> bool:
        # A name in the package of somebody else means something else.
        return self.technique is None or self.technique.__module__.startswith("rheostat.")


def catalogue() -> dict[str, Source]:
    """Return the source of every axis by name, in the order of a space.

    Raises:
        SettingError: If two registered techniques claim one name, or one claims a name of ours.
    """
    own = [*_finetuning(), *_deployment()]
    parts = [_of_part(part, kind) for kind in techniques() for part in _parts_of(kind)]
    stages = get_args(Stage)
    found: dict[str, Source] = {}
    for source in sorted([*own, *parts], key=lambda source: stages.index(source.stage)):
        if source.name in found:
            raise SettingError(
                "The name of an axis belongs to one technique.",
                given=f"'{source.name}', which two claim",
                mend="Uninstall the package of one of them.",
            )
        found[source.name] = source
    return found


def grid_between(low: float, high: float, *, whole: bool, open_low: bool = False) -> tuple[Value, ...]:
    """Return about `STEPS` evenly spaced values of a finite range, ascending.

    Args:
        low: The lower end.
        high: The upper end, above it; always one of the values.
        whole: Whether only whole numbers lie in it.
        open_low: Whether the lower end itself does not.

    Example:
        >>> grid_between(0.0, 1.0, whole=False, open_low=True)[:3]
        (0.1, 0.2, 0.3)
        >>> grid_between(1, 6, whole=True), len(grid_between(1, 24, whole=True))
        ((1, 2, 3, 4, 5, 6), 10)
    """
    if whole:
        first, last = int(low) + open_low, int(high)
        steps = min(STEPS, last - first + 1)
        return tuple(dict.fromkeys(round(first + at * (last - first) / max(steps - 1, 1)) for at in range(steps)))
    steps = STEPS if open_low else STEPS - 1
    values = [low + at * (high - low) / steps for at in range(1 if open_low else 0, steps + 1)]
    return tuple(float(f"{value:.6g}") for value in values)


def grid_around(neutral: float, low: float, high: float, *, whole: bool) -> tuple[Value, ...]:
    """Return values of a range that is open to infinity: halves and doubles of the neutral value, ascending.

    Example:
        >>> grid_around(8, 1, math.inf, whole=True)
        (2, 4, 8, 16, 32)
    """
    start = neutral or 1.0
    values = [neutral, *(start * 2.0**power for power in (-2, -1, 1, 2))]
    inside = [round(value) if whole else float(f"{value:.6g}") for value in values if low <= value <= high]
    return tuple(sorted({value for value in inside if low <= value <= high} | {neutral}))


def grid_of(part: Knob | Dial, blocks: int) -> tuple[Value, ...]:
    """Return the values of a knob or dial that are tried on a model of so many blocks, neutral among them."""
    if isinstance(part, Knob) and part.choices:
        return part.choices
    if isinstance(part, Knob):
        whole, low, high = isinstance(part.neutral, int), part.low, part.high
        neutral = part.neutral if isinstance(part.neutral, int | float) else 0
        if math.isinf(low) or math.isinf(high):
            return grid_around(neutral, low, high, whole=whole)
        return _with(grid_between(low, high, whole=whole), neutral)
    bound = part.bound(blocks)
    values = grid_between(bound.low, bound.high, whole=bound.whole, open_low=bound.open_low)
    return _with(values, int(bound.neutral) if bound.whole else bound.neutral)


def neutral_of(part: Knob | Dial, blocks: int) -> Value:
    """Return the value at which a model of so many blocks is the plain one."""
    if isinstance(part, Knob):
        return part.neutral
    bound = part.bound(blocks)
    return int(bound.neutral) if bound.whole else bound.neutral


def _with(values: tuple[Value, ...], neutral: Value) -> tuple[Value, ...]:
    return values if neutral in values else tuple(sorted((*values, neutral)))


def _parts_of(kind: type[Technique]) -> list[Knob | Dial]:
    return [*kind.dials, *kind.knobs]


def _of_part(part: Knob | Dial, kind: type[Technique]) -> Source:
    what = part.what if isinstance(part, Knob) else part.unit
    check = part.check if isinstance(part, Knob) else _checked_dial(part)
    return Source(part.name, kind.stage, what, check, part, kind)


def _checked_dial(dial: Dial) -> Callable[[object], Value]:
    def check(value: object) -> Value:
        checked = dial.check(value)
        return int(checked) if dial.whole else checked

    return check


def _finetuning() -> list[Source]:
    made = [
        Source("recipe", "finetuning", "how training makes the model robust at every speed", _recipe),
        Source("adapter", "finetuning", "which weights are trained", _choice("adapter", get_args(Kind))),
    ]
    for name, what in _ADAPTER_WORDS.items():
        kinds = tuple(kind for kind in get_args(Kind) if name in Trainable.uses(kind))
        made.append(Source(name, "finetuning", what, _setting(kinds[0], name), adapters=kinds))
    return made


_ADAPTER_WORDS: Final[Mapping[str, str]] = {
    "rank": "rank of the adapters",
    "mask": "how shira chooses the entries that it trains",
    "share": "share of each matrix that shira trains",
    "blocks": "how many of the last blocks are trained",
}


def _deployment() -> list[Source]:
    return [
        Source("batch", "deployment", "rows of a request", _whole("batch")),
        Source("threads", "deployment", "threads of one operation", _whole("threads")),
    ]


def _recipe(value: object) -> Value:
    if value != AS_IT_IS:
        known = shipped()
        if not isinstance(value, str) or (value not in known and not value.endswith((".yaml", ".yml"))):
            raise SettingError(
                "A recipe is a known one, or a YAML file.",
                given=repr(value),
                mend=suggest(str(value), [*known, AS_IT_IS]),
            )
        read_recipe(value)
    return value


def _choice(name: str, choices: tuple[str, ...]) -> Callable[[object], Value]:
    def check(value: object) -> Value:
        if not isinstance(value, str) or value not in choices:
            raise SettingError(
                f"The axis '{name}' has one of its choices.", given=repr(value), mend=suggest(str(value), choices)
            )
        return value

    return check


def _setting(kind: str, setting: str) -> Callable[[object], Value]:
    def check(value: object) -> Value:
        made: Any = Trainable.from_json({"kind": kind, setting: value})
        checked: Value = getattr(made, setting)
        return checked

    return check


def _whole(name: str) -> Callable[[object], Value]:
    def check(value: object) -> Value:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise SettingError(f"The axis '{name}' has whole numbers from 1.", given=repr(value))
        return value

    return check


def choices_of(source: Source) -> tuple[Value, ...]:
    """Return all values of an axis that is a choice among names, not of a technique; empty where it is none."""
    return {
        "recipe": (AS_IT_IS, *sorted(shipped(), key=lambda name: name != "plain")),
        "adapter": get_args(Kind),
        "mask": get_args(Mask),
    }.get(source.name, ())
