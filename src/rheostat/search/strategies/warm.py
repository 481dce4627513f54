"""What is known before a search: rules of thumb for the first guesses, and what cannot matter to what.

The rules are AE-LLM's guidelines (memory-bound: low bits, small adapters; latency-bound: fewer tokens and layers,
int8; accuracy-bound: the whole model in precision that costs nothing), said in our axes. Its mixtures of experts and
attention variants have none here, and where it has adapters for the sake of quality all weights are trained.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rheostat.core.goals import Goals
from rheostat.core.knob import Value
from rheostat.core.metrics import metric_kind
from rheostat.core.score import QUALITY
from rheostat.core.space import Axis, Space
from rheostat.search.strategies.start import extreme

__all__ = ["RULES", "Rule", "dependencies", "fitting", "guesses", "is_quality"]

Pick = Callable[[Axis], Value]

_HOW_IT_LEARNS: Final = frozenset({"recipe"})
"""Axes that change what weights hold, and nothing about how they are run."""


def is_quality(metric: str) -> bool:
    """Whether a metric says how good answers are, so that it does not matter where and how fast they are given.

    Raises:
        SettingError: If nobody knows the metric.
    """
    return "/" in metric_kind(metric).name or metric in QUALITY


def dependencies(space: Space, goals: Goals) -> dict[int, frozenset[str]]:
    """Return the axes that each objective, and then each limit, can depend on: `Hints.depends`.

    Quality does not depend on the deployment (batch, threads); costs do not depend on the recipe, which only changes
    what weights hold. Everything else is left to measurement.
    """
    metrics = [one.metric for one in goals.objectives] + [one.metric for one in goals.limits]
    found = {}
    for at, metric in enumerate(metrics):
        quality, mixed = is_quality(metric), metric.endswith("_quality")
        found[at] = frozenset(
            axis.name
            for axis in space.axes
            if mixed or (axis.stage != "deployment" if quality else axis.name not in _HOW_IT_LEARNS)
        )
    return found


def _middle(axis: Axis) -> Value:
    """Return the value half-way between the default and the farthest, nearer to the default."""
    return _on_the_way(axis, 2.01)


def _quarter(axis: Axis) -> Value:
    """Return the value at a quarter of the way from the default to the farthest."""
    return _on_the_way(axis, 4.01)


def _on_the_way(axis: Axis, part: float) -> Value:
    here, there = axis.values.index(axis.default), axis.values.index(extreme(axis))
    return axis.values[here + round((there - here) / part)]


def _number(value: Value) -> float:
    """Return a number, or the one that a name holds, such as the bits of ``int8``; infinity without one."""
    if not isinstance(value, str):
        return float(value)
    digits = re.search(r"\d+", value)
    return float(digits.group()) if digits else float("inf")


def _smallest(axis: Axis) -> Value:
    return min(axis.values, key=_number)


def _largest(axis: Axis) -> Value:
    return max(axis.values, key=lambda value: _number(value) if _number(value) < float("inf") else -1.0)


def _one_of(*names: str) -> Pick:
    """Return what picks the first of some values that an axis has; its default where it has none."""
    return lambda axis: next((name for name in names if name in axis.values), axis.default)


@dataclass(frozen=True, slots=True)
class Rule:
    """What to try for a kind of goal.

    Attributes:
        name: For people.
        metrics: It is for goals whose metric starts with one of these; ``quality`` stands for all of quality.
        picks: Axis to what is picked; others stay at their default.
    """

    name: str
    metrics: tuple[str, ...]
    picks: Mapping[str, Pick]

    def serves(self, metric: str) -> bool:
        """Whether it is for a metric."""
        return metric.startswith(self.metrics) or ("quality" in self.metrics and is_quality(metric))

    def configuration(self, space: Space, *, trained: bool = True) -> dict[str, Value]:
        """Return its guess, canonical; not ``trained``, for the recipe that is the default."""
        picks = {name: pick for name, pick in self.picks.items() if trained or name not in _HOW_IT_LEARNS}
        return space.canonical({axis.name: picks[axis.name](axis) for axis in space.axes if axis.name in picks})


_ELASTIC: Final = _one_of("mixed", "uniform", "sandwich", "nested")
_INT8: Final = _one_of("int8", "int8-weight", "bf16", "fp16")

RULES: Final = (
    Rule(
        "latency-bound: half of what the dials can take off, int8",
        ("latency", "ttft", "tpot", "speedup", "throughput", "energy", "power", "cost"),
        {"recipe": _ELASTIC, "tokens": _middle, "depth": _middle, "precision": _INT8, "threads": _largest},
    ),
    Rule(
        "memory-bound: fewest bits, small batches and adapters",
        ("memory", "compression"),
        {"precision": _smallest, "cache": _INT8, "batch": _smallest, "threads": _smallest, "rank": _smallest},
    ),
    Rule(
        "accuracy-bound: the whole model, in precision that costs nothing",
        ("quality",),
        {"precision": _INT8},
    ),
    Rule(
        "latency-bound to the utmost: the other end of every dial, int8",
        ("latency", "ttft", "tpot", "speedup", "throughput", "energy", "power", "cost"),
        {"recipe": _ELASTIC, "tokens": extreme, "depth": extreme, "precision": _INT8, "threads": _largest},
    ),
    Rule(
        "throughput: fewer tokens in large batches",
        ("throughput", "energy", "cost"),
        {"recipe": _ELASTIC, "tokens": _middle, "precision": _INT8, "batch": _largest, "threads": _largest},
    ),
    Rule(
        "least of everything",
        ("memory", "latency", "energy"),
        {"recipe": _ELASTIC, "tokens": extreme, "depth": extreme, "precision": _INT8, "batch": _smallest},
    ),
)
"""The table, in the order in which it is tried: rules for limits come before rules for objectives."""


_GENTLE: Final = Rule(
    "latency-bound, and not trained for it: a quarter of what the dials can take off, int8",
    RULES[0].metrics,
    {"tokens": _quarter, "precision": _INT8, "threads": _largest},
)


def guesses(space: Space, goals: Goals, *, as_it_is: bool = False) -> list[dict[str, Value]]:
    """Return what the table of rules would measure first.

    Args:
        space: What may be measured.
        goals: What is wanted.
        as_it_is: Whether the default is a model that nothing is learnt for: what can be had of it without a training
            takes seconds, and comes first.

    Returns:
        Canonical configurations that may run, distinct, without the default one.
    """
    limited = [limit.metric for limit in goals.limits]
    wanted = [objective.metric for objective in goals.objectives]
    chosen = [rule for metrics in (limited, wanted) for rule in RULES if any(map(rule.serves, metrics))]
    ways = (False, True) if as_it_is else (True,)
    made = [rule.configuration(space, trained=trained) for trained in ways for rule in chosen]
    if as_it_is and RULES[0] in chosen:
        made.insert(0, _GENTLE.configuration(space))
    found = {space.key(one): one for one in made}
    found.pop(space.key({}), None)
    return [one for one in found.values() if space.conflict(one) is None]


def fitting(space: Space, configurations: Iterable[Mapping[str, Value]]) -> list[dict[str, Value]]:
    """Return configurations of another space, as near as this one has them: the front of an earlier study, say.

    Args:
        space: This one.
        configurations: Of the other one; axes that are not here are left out, numbers go to the nearest value,
            and what has another value that is not here is left out.

    Returns:
        Canonical configurations that may run, distinct.
    """
    found: dict[str, dict[str, Value]] = {}
    for configuration in configurations:
        fitted = {
            axis.name: _nearest(axis, configuration[axis.name]) for axis in space.axes if axis.name in configuration
        }
        if None not in fitted.values():
            one = space.canonical(fitted)
            found.setdefault(space.key(one), one)
    return [one for one in found.values() if space.conflict(one) is None]


def _nearest(axis: Axis, value: Value) -> Value | None:
    if value in axis.values:
        return value
    numbers: Sequence[Value] = [one for one in axis.values if not isinstance(one, str)]
    if isinstance(value, str) or not numbers:
        return None
    return min(numbers, key=lambda one: abs(float(one) - float(value)))
