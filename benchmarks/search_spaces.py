"""Recorded spaces made from formulas: to try searches on before, and besides, real measurements."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Mapping

from rheostat.core.goals import Goals, Objective
from rheostat.core.knob import Value
from rheostat.core.metrics import Metric, metric_kind
from rheostat.core.space import Axis, Space
from rheostat.search.recorded import RecordedSpace, Row, hex_of, quality_key, training_key

OBJECTIVES = ("accuracy", "latency_p50", "memory_peak_host", "energy_per_sample")
GOALS = Goals(tuple(Objective(name) for name in OBJECTIVES))
ROWS = 400

RECIPES = {"plain": (0.875, 0.30, 0.30), "uniform": (0.866, 0.09, 0.25), "sandwich": (0.871, 0.12, 0.10)}
"""Accuracy of the neutral dials, and how much of it few tokens and little depth cost."""


def stand_in(seed: int = 0, noise: float = 0.02) -> RecordedSpace:
    """Return something like MiniLM on reviews: 648 configurations, costs from counted work, accuracy on 400 rows.

    The constants (overheads, speed of int8, gain of a second thread, how each recipe bears few tokens) are drawn
    around plausible ones by the seed.

    Args:
        seed: Of constants and noise.
        noise: Spread of each cost, as a share; memory has a fifth of it.
    """
    source = random.Random(seed)
    axes = (
        Axis("recipe", "finetuning", tuple(RECIPES), "plain", ordered=False),
        Axis("tokens", "inference", (0.1, 0.2, 0.35, 0.5, 0.7, 1.0), 1.0),
        Axis("depth", "inference", (0.5, 0.75, 1.0), 1.0),
        Axis("precision", "inference", ("fp32", "int8"), "fp32", ordered=False),
        Axis("batch", "deployment", (1, 8, 32), 8),
        Axis("threads", "deployment", (1, 2), 2),
    )
    space = Space(axes)
    drawn = {
        "int8": source.uniform(0.4, 0.8),
        "second": source.uniform(1.4, 1.9),
        "overhead": source.uniform(0.5, 3.0) * 1e-3,
        "call": source.uniform(1.0, 6.0) * 1e-3,
        "loss": source.uniform(0.0, 0.01),
        "big": source.uniform(0.8, 1.1),
    }
    shapes = {name: tuple(part * source.uniform(0.8, 1.2) for part in parts[1:]) for name, parts in RECIPES.items()}
    right = {}
    for configuration in space.configurations():
        key = quality_key(space, configuration)
        if key not in right:
            right[key] = _bits(_accuracy(configuration, shapes, drawn), source)
    rows = tuple(_row(one, _costs(one, drawn), right[quality_key(space, one)], (source, noise))
                 for one in space.configurations())  # fmt: skip
    trainings = {training_key(space, {"recipe": name}): {"seconds": 600.0} for name in RECIPES}
    texts = {key: hex_of(bits) for key, bits in right.items()}
    return RecordedSpace(space, rows, {"made": "by formula"}, {"rows": ROWS}, texts, trainings)


def _survivors(tokens: float, depth: float) -> float:
    """Return the tokens that all blocks of six read together, over those of the plain model."""
    blocks = round(6 * depth)
    kept = [1.0 - (1.0 - tokens) * min(1.0, block / 3) for block in range(blocks)]
    return sum(kept) / 6


def _accuracy(one: Mapping[str, Value], shapes: Mapping[str, tuple[float, ...]], drawn: Mapping[str, float]) -> float:
    few, shallow = shapes[str(one["recipe"])]
    top = RECIPES[str(one["recipe"])][0]
    tokens, depth = float(one["tokens"]), float(one["depth"])
    lost = few * (1 - tokens) ** 2.5 + shallow * (1 - depth) ** 1.5 + 0.1 * (1 - tokens) * (1 - depth)
    return max(0.5, top - lost - (drawn["loss"] if one["precision"] == "int8" else 0.0))


def _bits(accuracy: float, source: random.Random) -> list[bool]:
    # One hard row is hard for all: less spread than independent rows would have.
    count = round(accuracy * ROWS + source.gauss(0, 0.006) * ROWS)
    bits = [True] * count + [False] * (ROWS - count)
    source.shuffle(bits)
    return bits


def _costs(one: Mapping[str, Value], drawn: Mapping[str, float]) -> tuple[float, float, float]:
    batch, threads, int8 = float(one["batch"]), float(one["threads"]), one["precision"] == "int8"
    work = 0.030 * _survivors(float(one["tokens"]), float(one["depth"])) * (drawn["int8"] if int8 else 1.0)
    gain = drawn["second"] * (0.8 if batch == 1 else 1.0) if threads == 2 else 1.0
    sample = work * (drawn["big"] if batch > 1 else 1.0) + drawn["overhead"]
    time = batch * sample / gain + drawn["call"] * (1.5 if int8 else 1.0)
    memory = 420e6 + (46e6 if int8 else 91e6) + 6.0e6 * batch * (0.4 + 0.6 * float(one["tokens"])) + 4e6 * threads
    energy = time / batch * (9.0 + 6.0 * threads)
    return time, memory, energy


def _row(one: dict[str, Value], costs: tuple[float, ...], bits: list[bool], spread: tuple[random.Random, float]) -> Row:
    source, noise = spread
    shaky = [
        cost * math.exp(source.gauss(0, part)) for cost, part in zip(costs, (noise, noise / 5, noise), strict=True)
    ]
    metrics = {"accuracy": Metric(sum(bits) / ROWS, "1")}
    for name, value in zip(OBJECTIVES[1:], shaky, strict=True):
        metrics[name] = Metric(value, metric_kind(name).unit, value * (1 - 2 * noise), value * (1 + 2 * noise))
    return Row(one, metrics, seconds=5.0 + ROWS * costs[0] / float(one["batch"]))


def rough_costs(space: Space, goals: Goals) -> Callable[[Mapping[str, Value]], dict[int, float]] | None:
    """Return a cost model by rule of thumb, not fitted to anything; None for a space that it knows nothing of.

    A quarter of the work of a block is there for every token, dropped or not; int8 halves time, and the bytes of
    weights; threads share the work; an active thread takes half as much power as the rest of the machine.
    """
    if not {"tokens", "depth", "precision", "batch", "threads"} <= {axis.name for axis in space.axes}:
        return None
    names = [objective.metric for objective in goals.objectives]

    def predict(one: Mapping[str, Value]) -> dict[int, float]:
        batch, threads, tokens = float(one["batch"]), float(one["threads"]), float(one["tokens"])
        small = 0.5 if one["precision"] == "int8" else 1.0
        work = (0.25 + 0.75 * tokens) * float(one["depth"]) * small / threads
        kinds = {"latency": batch * work, "memory": 100 * small + 5 * batch * tokens, "energy": work * (2 + threads)}
        return {at: kinds[kind] for at, name in enumerate(names) if (kind := name.partition("_")[0]) in kinds}

    return predict


def synthetic(seed: int = 0) -> RecordedSpace:
    """Return a rough landscape: 11,520 configurations of unordered axes, additive and pairwise effects, 4 objectives.

    Args:
        seed: Of all effects.
    """
    source = random.Random(seed)
    counts = {"attention": 4, "experts": 4, "method": 5, "rank": 4, "weights": 4, "cache": 3, "batch": 3}
    stages = ("architecture", "architecture", "finetuning", "finetuning", "inference", "inference", "deployment")
    axes = tuple(
        Axis(name, stage, tuple(f"{name}{at}" for at in range(count)), f"{name}0", ordered=False)  # type: ignore[arg-type]
        for (name, count), stage in zip(counts.items(), stages, strict=True)
    )
    space = Space(axes)
    effects = [_effects(axes, source) for _ in OBJECTIVES]
    rows = tuple(_synthetic_row(one, effects) for one in space.configurations())
    return RecordedSpace(space, rows, {"made": "by formula"})


Effects = dict[tuple[Value, ...], float]


def _effects(axes: tuple[Axis, ...], source: random.Random) -> Effects:
    alone = {(value,): source.gauss(0, 1.0) for axis in axes for value in axis.values}
    pairs = {
        (left, right): source.gauss(0, 0.4)
        for first, second in itertools.combinations(axes, 2)
        for left in first.values
        for right in second.values
    }
    return {**alone, **pairs}


def _synthetic_row(one: dict[str, Value], effects: list[Effects]) -> Row:
    values = list(one.values())
    sums = [
        sum(effect[(value,)] for value in values) + sum(effect[pair] for pair in itertools.combinations(values, 2))
        for effect in effects
    ]
    metrics = {"accuracy": Metric(1 / (1 + math.exp(-sums[0] / 4)), "1")}
    for name, total in zip(OBJECTIVES[1:], sums[1:], strict=True):
        metrics[name] = Metric(math.exp(total / 6), metric_kind(name).unit)
    return Row(one, metrics, seconds=60.0)
