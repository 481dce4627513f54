"""A search without models: formulas in place of measurements, and a clock that costs nothing."""

from __future__ import annotations

import hashlib
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rheostat.core.goals import Goals, Limit, Objective
from rheostat.core.knob import Value
from rheostat.core.measurement import Measurement
from rheostat.core.metrics import Metric, unavailable
from rheostat.core.space import Axis, Space
from rheostat.search.evaluator import Request
from rheostat.search.loop import search
from rheostat.search.problem import Problem

SPACE = Space(
    (
        Axis("recipe", "finetuning", ("plain", "uniform", "sandwich"), "plain", ordered=False),
        Axis("tokens", "inference", (0.1, 0.2, 0.3, 0.5, 0.7, 1.0), 1.0),
        Axis("depth", "inference", (2, 4, 6), 6),
        Axis("precision", "inference", ("fp32", "int8"), "fp32"),
        Axis("threads", "deployment", (1, 2), 2),
    )
)
GOALS = Goals(
    tuple(map(Objective, ("accuracy", "latency_p95", "memory_peak_host", "energy_per_sample"))),
    (Limit("accuracy", "least", 0.03, "difference"),),
)
ROBUST = {"plain": 0.30, "uniform": 0.06, "sandwich": 0.04}


def truth(one: Mapping[str, Value]) -> dict[str, float]:
    """What measurements of a configuration scatter around."""
    tokens, depth = float(one["tokens"]), float(one["depth"])
    saved = 1 - tokens * depth / 6
    accuracy = 0.9 - ROBUST[str(one["recipe"])] * saved**2 - 0.005 * (one["precision"] == "int8")
    int8 = 0.6 if one["precision"] == "int8" else 1.0
    latency = (0.004 + 0.05 * tokens * depth / 6 * int8) * (1.6 if one["threads"] == 1 else 1.0)
    memory = (120 + 80 * (depth / 6) * (0.4 if one["precision"] == "int8" else 1.0)) * 2**20
    energy = latency * (9 if one["threads"] == 1 else 14)
    return {"accuracy": accuracy, "latency_p95": latency, "memory_peak_host": memory, "energy_per_sample": energy}


@dataclass
class Synthetic:
    """An evaluator of formulas."""

    folder: Path
    noise: float = 0.02
    training_seconds: float = 60.0
    lucky: Mapping[str, float] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    sleep: float = 0.0
    log: Path | None = None
    stop_after: int | None = None
    space: Space = SPACE
    now: float = 0.0
    calls: list[Request] = field(default_factory=list)
    trained: set[tuple[str, float]] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)

    def clock(self) -> float:
        return self.now

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Measurement]:
        for request in requests:
            if self.stop_after is not None and len(self.calls) >= self.stop_after:
                raise KeyboardInterrupt
            self.now += self.price(request.configuration, request.fidelity)
            self.trained.add((self._training(request.configuration), request.fidelity))
            time.sleep(self.sleep)
            if self.log is not None:
                with self.log.open("a") as file:
                    file.write(self.space.key(request.configuration) + f" {request.fidelity}\n")
            self.calls.append(request)
            yield self._measured(request)

    def price(self, configuration: Mapping[str, Value], fidelity: float = 1.0) -> float:
        training = self._training(configuration)
        have = {fidelity, 1.0} & {part for name, part in self.trained if name == training}
        return 4.0 * max(fidelity, 0.5) + (0.0 if have else self.training_seconds * fidelity)

    def bundle(self, configuration: Mapping[str, Value]) -> Path:
        name = hashlib.sha256(self._training(configuration).encode()).hexdigest()[:8]
        made = self.folder / name
        if not (made / "bundle.json").exists():
            made.mkdir(parents=True, exist_ok=True)
            (made / "model.safetensors").write_bytes(name.encode() * 1000)
            (made / "README.md").write_text("# A card\n")
            content = {"version": 1, "task": "classification", "notes": [], "weights": name}
            (made / "bundle.json").write_text(json.dumps(content))
        return made

    def close(self) -> None:
        pass

    def _training(self, configuration: Mapping[str, Value]) -> str:
        return str(configuration["recipe"])

    def _measured(self, request: Request) -> Measurement:
        key = self.space.key(request.configuration)
        count = self.counts[f"{key} {request.fidelity}"] = self.counts[f"{key} {request.fidelity}"] + 1
        source = random.Random(f"{key} {request.fidelity} {count}")
        workload = {"name": "synthetic", "fidelity": request.fidelity}
        if key in self.broken:
            return Measurement({}, dict(request.configuration), workload, {}, "out-of-memory", reason=self.broken[key])
        values = truth(request.configuration)
        values["accuracy"] -= 0.05 * (1 - request.fidelity)
        found = {name: self._metric(name, value, request, source) for name, value in values.items()}
        if count == 1 and key in self.lucky:
            found["accuracy"] = Metric(self.lucky[key], "1", self.lucky[key] - 0.01, self.lucky[key] + 0.01)
        found.update({name: unavailable(name, "no counter") for name in self.missing})
        return Measurement({}, dict(request.configuration), workload, {}, "ok", found)

    def _metric(self, name: str, value: float, request: Request, source: random.Random) -> Metric:
        scatter = self.noise * (0.2 if name == "accuracy" else 1.0) / request.fidelity**0.5
        seen = value * (1 + source.gauss(0, scatter))
        unit = {"accuracy": "1", "latency_p95": "s", "memory_peak_host": "B", "energy_per_sample": "J"}[name]
        return Metric(seen, unit, seen * (1 - 2 * scatter), seen * (1 + 2 * scatter))


def problem(**changes: Any) -> Problem:
    plain: dict[str, Any] = {"space": SPACE, "goals": GOALS, "digest": "d", "budget": 600.0, "strategy": "random"}
    return Problem(**{**plain, **changes})


def main() -> None:
    """Run a search in a process of its own, to be killed: FOLDER BUDGET SLEEP."""
    folder, budget, sleep = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    evaluator = Synthetic(folder / "trained", noise=0.0, sleep=sleep, log=folder / "log")
    found = search(problem(budget=budget), folder / "study", evaluator, clock=evaluator.clock)
    sys.stdout.write(json.dumps(found.to_json()))


if __name__ == "__main__":
    main()
