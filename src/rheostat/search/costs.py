"""Cost models: what a configuration takes, predicted before anything of it runs, up to a factor.

Time is counted work over the machine's measured peak, and the bytes of the weights over its measured rate of copying;
memory is weights and activations. Such a model ranks configurations well before the first measurement, and is no
substitute for one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from statistics import fmean, median
from typing import Any, Final

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from rheostat.bundle import MANIFEST, read_manifest
from rheostat.core.goals import Goals
from rheostat.core.knob import Value
from rheostat.core.text import Task
from rheostat.core.workload import Workload
from rheostat.measure.macs import Macs, ModelCost, Plan, planned_row
from rheostat.measure.model_cost import cost_of
from rheostat.measure.probes.peak import machine_peak
from rheostat.models.families import locate
from rheostat.models.low_precision import linear_shape
from rheostat.models.sources import place_of
from rheostat.techniques.inference.precision import backends_of
from rheostat.techniques.inference.probe import probe

__all__ = [
    "BITS",
    "CostModel",
    "Shape",
    "Speeds",
    "measured_speeds",
    "own_knobs",
    "predictor",
    "shape_of",
    "usual_length",
]

BITS: Final[Mapping[str, float]] = {
    "fp32": 32.0,
    "bf16": 16.0,
    "fp16": 16.0,
    "int8": 8.0,
    "int8-weight": 8.0,
    "int4": 4.5,
}
"""Bits of a weight by precision, with its share of the scales."""

_COPIED: Final = 1 << 26
_BLOCK_SECONDS: Final = 2e-4
_STATES_A_TOKEN: Final = 8
_READ_AGAIN: Final = 0.3
"""Guessed share of the texts that a cascade reads twice, before it is measured."""
_LAYER_BOUND: Final = 0.5
_TOKENS_A_WORD: Final = 1.4
_TEXTS_SAMPLED: Final = 200
_LONGEST: Final = 512


@dataclass(frozen=True, slots=True)
class Shape:
    """What the costs of a model depend on.

    Attributes:
        cost: What its blocks cost.
        parameters: Numbers in its weights.
        linears: Numbers in the weights of the linear layers of all blocks, which a precision changes.
        hidden: Numbers of a hidden state.
        intermediate: Numbers within a feed-forward layer.
        sizes: The linear layers of a block: numbers of a row that go in and out.
    """

    cost: ModelCost
    parameters: int
    linears: int
    hidden: int
    intermediate: int
    sizes: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Speeds:
    """How fast a machine is.

    Attributes:
        flops: Floating-point operations a second in float32, by threads.
        bandwidth: Bytes a second that are read.
        gains: How many times as fast a precision multiplies as float32 does; 1 where it is left out.
    """

    flops: Mapping[int, float]
    bandwidth: float
    gains: Mapping[str, float] = field(default_factory=dict)

    def rate(self, threads: int | None, precision: str) -> float:
        """Return operations a second; with as many threads as were measured, the nearest number of them."""
        wanted = max(self.flops) if threads is None else threads
        nearest = min(self.flops, key=lambda known: abs(known - wanted))
        return self.flops[nearest] * self.gains.get(precision, 1.0)


@dataclass(frozen=True, slots=True)
class CostModel:
    """Predicts what a configuration of one model takes on one machine.

    Attributes:
        shape: The model.
        speeds: The machine.
        workload: What is run; its ``batch_size`` holds where a configuration has no ``batch``.
        length: Tokens of a text, as they are on average.
        overhead: Bytes that the process takes without a model.
        own: Knobs that a bundle brings, where a configuration names none; see `own_knobs`.

    Example:
        >>> model = CostModel(shape_of(source), measured_speeds((1, 2)), workload, 200)  # doctest: +SKIP
        >>> model.seconds({"tokens": 0.5, "batch": 8, "threads": 2})  # doctest: +SKIP
    """

    shape: Shape
    speeds: Speeds
    workload: Workload
    length: int
    overhead: float = 0.0
    own: Mapping[str, Value] = field(default_factory=dict)

    def seconds(self, configuration: Mapping[str, Value]) -> float:
        """Return the seconds of a request."""
        batch, precision = self._batch(configuration), str(configuration.get("precision", "fp32"))
        rate = self.speeds.rate(_whole(configuration.get("threads")), precision)
        blocks = self._depth(configuration)
        reading = self._block_bytes(configuration) / self.speeds.bandwidth + blocks * _BLOCK_SECONDS
        once = 2.0 * batch * self.macs(configuration) / rate + reading
        if self.workload.name != "generate":
            return once
        step = Macs(head=self.shape.cost.head) + sum(
            (Macs(block.attention, 0, block.feed_forward) for block in self.shape.cost.blocks[:blocks]), Macs()
        )
        return once + (self.workload.new_tokens - 1) * (2.0 * batch * step.total / rate + reading)

    def macs(self, configuration: Mapping[str, Value]) -> float:
        """Return the multiply-accumulates of a row, the mean over texts where a cascade reads some of them twice."""
        knobs = {**self.own, **configuration}
        plan = Plan(
            rate=float(configuration.get("tokens", 1.0)),
            floor=int(knobs.get("floor", 5)),
            protected=1,
            depth=self._depth(configuration),
            decay=float(knobs.get("decay", 1.0)),
            entry=float(knobs.get("entry", 0.0)),
        )
        once = float(_row(self.shape.cost, self._tokens, plan).total)
        if plan.rate == 1.0 or not float(configuration.get("cascade", 0.0)):
            return once
        return once + _READ_AGAIN * float(_row(self.shape.cost, self._tokens, replace(plan, rate=1.0)).total)

    def bytes(self, configuration: Mapping[str, Value]) -> float:
        """Return the bytes of memory at the peak of a request."""
        states = _STATES_A_TOKEN * self.shape.hidden + 2 * self.shape.intermediate
        activations = 4.0 * self._batch(configuration) * self._tokens * states
        return self.overhead + self.weights(configuration) + activations + self._cache(configuration)

    def weights(self, configuration: Mapping[str, Value]) -> float:
        """Return the bytes of the weights in memory; a smaller depth leaves them there."""
        bits = BITS.get(str(configuration.get("precision", "fp32")), 32.0)
        return 4.0 * (self.shape.parameters - self.shape.linears) + bits / 8 * self.shape.linears

    def _cache(self, configuration: Mapping[str, Value]) -> float:
        if self.workload.name == "classify":
            return 0.0
        number = 1.0 if configuration.get("cache") == "int8" else 4.0
        tokens = self._tokens * float(configuration.get("tokens", 1.0)) + self.workload.new_tokens
        return 2 * number * self._batch(configuration) * tokens * self._depth(configuration) * self.shape.hidden

    def _block_bytes(self, configuration: Mapping[str, Value]) -> float:
        bits = BITS.get(str(configuration.get("precision", "fp32")), 32.0)
        return bits / 8 * self.shape.linears * self._depth(configuration) / len(self.shape.cost.blocks)

    def _depth(self, configuration: Mapping[str, Value]) -> int:
        return int(configuration.get("depth", len(self.shape.cost.blocks)))

    def _batch(self, configuration: Mapping[str, Value]) -> int:
        return int(configuration.get("batch", self.workload.rows))

    @property
    def _tokens(self) -> int:
        return self.length if self.workload.name == "classify" else self.workload.prompt_tokens


def shape_of(source: str, task: Task = "classification", model: nn.Module | None = None) -> Shape:
    """Read off a model, without its weights, what its costs depend on.

    Args:
        source: A bundle's folder, or what `rheostat.models.sources.load_model` takes.
        task: What its head is for.
        model: The model itself, where it is there already; the source is not looked at then.

    Raises:
        RheostatError: If there is no such model.
        UnsupportedModelError: If its family is not supported.
    """
    if model is None:
        factory: Any = AutoModelForCausalLM if task == "causal-lm" else AutoModelForSequenceClassification
        with torch.device("meta"):
            model = factory.from_config(AutoConfig.from_pretrained(place_of(source)))
    located = locate(model)
    config: Any = located.base.config
    layers = [[module for module in block.modules() if _is_linear(module)] for block in located.blocks]
    sizes = [[linear_shape(layer) for layer in block] for block in layers]
    hidden = int(config.hidden_size)
    return Shape(
        cost_of(model),
        sum(parameter.numel() for parameter in model.parameters()),
        sum(inputs * outputs for block in sizes for inputs, outputs in block),
        hidden,
        max((outputs for _, outputs in sizes[0]), default=hidden),
        tuple(sizes[0]),
    )


def own_knobs(source: str) -> dict[str, Value]:
    """Return the knobs of the technique that a bundle brings; none for a model that is no bundle.

    Args:
        source: A bundle's folder, or what `rheostat.models.sources.load_model` takes.

    Raises:
        BundleError: If the bundle's manifest cannot be read.
    """
    folder = Path(source)
    worn = read_manifest(folder)["technique"] if (folder / MANIFEST).is_file() else {}
    return {name: value for name, value in worn.items() if name != "name"}


def measured_speeds(
    threads: Sequence[int] = (), precisions: Sequence[str] = (), shape: Shape | None = None, device: str = "cpu"
) -> Speeds:
    """Measure how fast this machine is: seconds at the first call, remembered in the user's cache after that.

    Args:
        threads: Numbers of threads to measure; empty for torch's own choice.
        precisions: Precisions to time on layers of the model's sizes; those that cannot run here are left out.
        shape: The model; without it no precision is timed.
        device: Where.
    """
    before = torch.get_num_threads()
    flops = {}
    try:
        for count in threads or (before,):
            torch.set_num_threads(count)
            flops[count] = machine_peak(device).flops
    finally:
        torch.set_num_threads(before)
    gains = {} if shape is None else {name: _gain(shape, name) for name in precisions if name != "fp32"}
    known = {name: gain for name, gain in gains.items() if gain is not None}
    return Speeds(flops, _bandwidth(device), known)


def predictor(model: CostModel, goals: Goals) -> Callable[[Mapping[str, Value]], dict[int, float]]:
    """Return what predicts the objectives that a cost model knows, by index, turned so that lower is better.

    Metrics such as accuracy, of which it knows nothing, are left out.

    Args:
        model: The cost model.
        goals: The objectives.

    Example:
        >>> predictor(model, Goals((Objective("accuracy"), Objective("latency_p50"))))({})  # doctest: +SKIP
        {1: 0.021}
    """
    signs = {at: (objective.metric, objective.sign) for at, objective in enumerate(goals.objectives)}

    def predict(configuration: Mapping[str, Value]) -> dict[int, float]:
        values = {at: (_value(model, metric, configuration), sign) for at, (metric, sign) in signs.items()}
        return {at: sign * value for at, (value, sign) in values.items() if value is not None}

    return predict


def _value(model: CostModel, metric: str, configuration: Mapping[str, Value]) -> float | None:
    kind = metric.partition("_")[0]
    batch = model._batch(configuration)
    row = model.seconds(configuration) / batch
    threads = _whole(configuration.get("threads")) or max(model.speeds.flops)
    if kind in ("latency", "ttft", "tpot"):
        return row * batch
    if metric == "memory_weights":
        return model.weights(configuration)
    if kind == "memory":
        return model.bytes(configuration)
    # Energy goes with the time of the processors that work.
    known = {"energy": row * threads, "processor": row * threads, "throughput": 1 / row, "speedup": 1 / row}
    return model.macs(configuration) if metric == "macs" else known.get(kind)


def usual_length(texts: Sequence[str], most: int | None = None) -> int:
    """Return about how many tokens a text has on average, by counting words, without a tokenizer.

    Args:
        texts: Of which the first 200 are looked at; there may be none.
        most: Tokens to which texts are cut; None for 512.

    Example:
        >>> usual_length(["a b c d e", "a b c d e f g h i j"], 16)
        12
    """
    most = _LONGEST if most is None else most
    lengths = [min(most, _TOKENS_A_WORD * len(text.split()) + 2) for text in texts[:_TEXTS_SAMPLED]]
    return max(1, round(fmean(lengths))) if lengths else most


@lru_cache(maxsize=4096)
def _row(cost: ModelCost, length: int, plan: Plan) -> Macs:
    return planned_row(cost, length, plan)


def _gain(shape: Shape, precision: str) -> float | None:
    """Return how many times as fast as float32 a precision is on layers of a block; None where it cannot run."""
    generator = torch.Generator().manual_seed(0)
    layers = []
    for inputs, outputs in shape.sizes:
        layer = nn.Linear(inputs, outputs)
        with torch.no_grad():
            layer.weight.normal_(0.0, inputs**-0.5, generator=generator)
        layers.append(layer)
    best = probe(layers, backends_of(precision), _LAYER_BOUND).best((64, 2048))
    return None if best.unusable is not None else best.score((64, 2048))


def _bandwidth(device: str) -> float:
    numbers = torch.ones(_COPIED // 4, device=device)
    target = torch.empty_like(numbers)
    taken = []
    for _ in range(6):
        start = time.perf_counter()
        target.copy_(numbers)
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    # A copy reads as much as it writes.
    return 2.0 * _COPIED / median(taken[1:])


def _is_linear(module: nn.Module) -> bool:
    return not list(module.children()) and (
        (hasattr(module, "in_features") and hasattr(module, "out_features")) or (hasattr(module, "nx"))
    )


def _whole(value: Value | None) -> int | None:
    return None if value is None else int(value)
