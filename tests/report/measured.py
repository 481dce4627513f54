"""Synthetic measurements of every kind for the tests of the leaderboard."""

from __future__ import annotations

from typing import Any

from rheostat.core.measurement import Measurement, Status
from rheostat.core.metrics import METRICS, Metric, unavailable

NASTY = "<script>alert('x')</script> & \"quotes\""
MACHINE = {"cpu": "Test CPU", "cores": 2, "memory_bytes": 2**33, "torch": "2.13.0", "transformers": "5.23.0"}
BUSY = "The machine was busy."


def metric(name: str, value: float, share: float = 0.02, **more: Any) -> Metric:
    return Metric(value, METRICS[name].unit, value * (1 - share), value * (1 + share), **more)


def classifier(precision: str, tokens: float, speedup: float, accuracy: float, **more: Any) -> Measurement:
    plain = speedup == 1
    metrics = {
        "speedup": Metric(1.0, "1", 1.0, 1.0) if plain else metric("speedup", speedup),
        "latency_p50": metric("latency_p50", 0.4 / speedup, source="perf_counter"),
        "latency_p99": metric("latency_p99", 0.5 / speedup),
        "memory_peak_host": metric("memory_peak_host", 6e8, 0.001, source="VmHWM"),
        "memory_mean_host": metric("memory_mean_host", 5e8, provenance="sampled", source="100 Hz"),
        "energy_per_sample": metric("energy_per_sample", 3 / speedup, provenance="estimated", source="CodeCarbon"),
        "energy_per_token": unavailable("energy_per_token", "no energy counter"),
        "accuracy": metric("accuracy", accuracy, source="400 rows"),
    }
    if precision == "bf16":
        metrics["energy_per_sample"] = unavailable("energy_per_sample", "the counter <stopped>")
    conditions: dict[str, Any] = {"rounds": 10, "threads": {"within": 2}, "started": "2026-11-20T09:00:00"}
    conditions["baselines"] = {"majority": {"accuracy": 0.5}, "linear": {"accuracy": 0.875}}
    return row({"precision": precision, "tokens": tokens}, metrics=metrics, conditions=conditions, **more)


def row(configuration: dict[str, Any], status: Status = "ok", **more: Any) -> Measurement:
    model = more.pop("model", {"name": "MiniLM", "parameters": 22_713_600})
    workload = more.pop("workload", {"name": "classify", "batch_size": 8})
    return Measurement(model, configuration, workload, more.pop("machine", MACHINE), status, **more)


def classifiers() -> list[Measurement]:
    """One group: every status, a tie, a loss, and the front fp32 1, int8 0.8, int8 0.5."""
    return [
        classifier("fp32", 1.0, 1.0, 0.9),
        classifier("int8", 0.5, 4.0, 0.86, notes=(BUSY,)),
        classifier("int8", 0.8, 2.0, 0.895),
        classifier("fp32", 0.9, 1.01, 0.88),
        classifier("bf16", 1.0, 0.2, 0.9),
        row({"precision": "int4", "tokens": 1.0}, "out-of-memory", reason="needs 3.1 GiB"),
        row({"precision": "int4", "tokens": 0.5}, "timed-out", reason="no result after 900 s"),
        row({"precision": "fp16", "tokens": 1.0}, "failed", reason=NASTY),
    ]


def generators() -> list[Measurement]:
    """Another group, judged by perplexity, where lower is better."""
    model, workload = {"name": "Gemma"}, {"name": "generate", "new_tokens": 64}
    found = []
    for precision, speedup, perplexity in (("fp32", 1.0, 20.0), ("int8", 1.5, 20.5), ("int4", 1.2, 26.0)):
        metrics = {
            "speedup": Metric(1.0, "1", 1.0, 1.0) if speedup == 1 else metric("speedup", speedup),
            "ttft_p50": metric("ttft_p50", 0.9 / speedup),
            "tpot_p50": metric("tpot_p50", 0.05 / speedup),
            "perplexity": metric("perplexity", perplexity),
        }
        found.append(row({"precision": precision}, model=model, workload=workload, metrics=metrics))
    return found


def odd() -> list[Measurement]:
    """A group with nothing but a failure, and names that would break a careless page."""
    return [
        row({NASTY: NASTY}, "failed", reason=NASTY, model={"name": NASTY}, workload={"name": NASTY}, notes=(NASTY,))
    ]


def everything() -> list[Measurement]:
    return [*classifiers(), *generators(), *odd()]
