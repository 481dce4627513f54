"""Does sampling keep its pace beside a busy process, and what does it cost?

A child process multiplies matrices on all threads. This process reads its resident memory and processor time every
10 ms in half of the runs, and nothing in the other half; the runs alternate.

    python -m benchmarks.sampling

`lost` is the share of due readings that were not taken, `own_cost` the processor time of the sampling thread over the
time of the run (a share of one core), and `slow_down` the median over pairs of the child's time with sampling over its
time without, with a 95 % interval. The control takes the second of two runs without sampling for the sampled one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.common import RESULTS, commit
from rheostat.core.files import write_atomically
from rheostat.measure.probes import (
    ConditionsWatch,
    ProcessorTime,
    ResidentMemory,
    Sampler,
    machine,
)
from rheostat.measure.timing import PairedTiming

LIMITS = {"lost": 0.05, "own_cost": 0.01, "slow_down": 1.01}

# Times itself, so that a late wake-up of this process counts for nothing.
CHILD = """
import sys, time
import torch
size, products, threads = map(int, sys.argv[1:])
if threads:
    torch.set_num_threads(threads)
left = torch.rand((size, size), generator=torch.Generator().manual_seed(0))
torch.mm(left, left)
print(torch.get_num_threads(), flush=True)
for line in sys.stdin:
    start = time.perf_counter()
    for _ in range(products):
        torch.mm(left, left)
    print(time.perf_counter() - start, flush=True)
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pairs", type=int, default=20)
    options.add_argument("--size", type=int, default=1024, help="rows of the matrices")
    options.add_argument("--products", type=int, default=75, help="products a run")
    options.add_argument("--threads", type=int, default=0, help="threads of the child; 0 is torch's own choice")
    options.add_argument("--interval", type=float, default=0.01, help="seconds between readings")
    options.add_argument("--out", type=Path, default=RESULTS / "sampling.json")
    return options.parse_args(arguments)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-c", CHILD, *map(str, (options.size, options.products, options.threads))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        source, sink = child.stdout, child.stdin
        threads = int(source.readline())

        def run() -> float:
            sink.write("\n")
            sink.flush()
            return float(source.readline())

        with ConditionsWatch([child.pid]) as watch:
            found = compare(run, child.pid, options)
        sink.close()
    return {**found, "child_threads": threads, "conditions": watch.conditions.to_json()}


def compare(run: Callable[[], float], pid: int, options: argparse.Namespace) -> dict[str, Any]:
    """Alternate runs with and without sampling, and two without; the order swaps from pair to pair."""
    samplers: list[Sampler] = []

    def sampled() -> float:
        probes = [ResidentMemory(pid), ProcessorTime(pid)]
        with Sampler(probes, options.interval) as sampler:
            seconds = run()
        samplers.append(sampler)
        return seconds

    run()
    seconds: dict[str, list[float]] = {"plain": [], "sampled": [], "control plain": [], "control": []}
    for pair in range(options.pairs):
        steps = [("plain", run), ("sampled", sampled), ("control plain", run), ("control", run)]
        for name, step in steps if pair % 2 == 0 else reversed(steps):
            seconds[name].append(step())
    timing = PairedTiming(tuple(seconds["plain"]), tuple(seconds["sampled"]))
    control = PairedTiming(tuple(seconds["control plain"]), tuple(seconds["control"]))
    wanted = sum(sampler.ticks_wanted for sampler in samplers)
    return {
        "ticks_wanted": wanted,
        "ticks_taken": sum(sampler.ticks_taken for sampler in samplers),
        "lost": 1 - sum(sampler.ticks_taken for sampler in samplers) / wanted,
        "worst_lost": max(sampler.lost for sampler in samplers),
        "own_cost": fmean(sampler.cost for sampler in samplers),
        "seconds_a_run": timing.plain_seconds,
        "slow_down": timing.cost,
        "slow_down_95": timing.cost_interval,
        "control": control.cost,
        "control_95": control.cost_interval,
        "processors_used": fmean(_used(sampler) for sampler in samplers),
        "seconds": seconds,
    }


def _used(sampler: Sampler) -> float:
    """Return how many processors the child used while it was sampled."""
    trace = sampler.trace("processor_time")
    return (trace.values[-1] - trace.values[0]) / trace.duration


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    found = measure(options)
    about = {
        "commit": commit(),
        "machine": machine(),
        "interval": options.interval,
        "pairs": options.pairs,
        "size": options.size,
        "products": options.products,
        "limits": LIMITS,
    }
    write_atomically(options.out, json.dumps({**about, **found}, indent=2) + "\n")
    for name, limit in LIMITS.items():
        print(f"{name:>12}: {found[name]:.4f}, wanted below {limit}")
    print(f"{'95 %':>12}: {found['slow_down_95']}, control {found['control']:.4f} {found['control_95']}")
    print(found["conditions"]["warning"] or "The machine was quiet.")
    print(f"Written: {options.out}")


if __name__ == "__main__":
    main()
