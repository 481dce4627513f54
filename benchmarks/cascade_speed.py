"""Run: python -m benchmarks.cascade_speed DATA.parquet: is a cascade as fast as its two readings say?

`benchmarks.recipes table` reckons the speed-up of a cascade from those of its readings and from the share of texts that
are read twice. Here the dial itself runs, in turn with the plain model on the same texts, and so do both readings
alone: what was reckoned stands beside what was measured. It needs a bundle that `benchmarks.recipes train` has made,
and an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import RESULTS, commit
from benchmarks.recipes import configured, reading
from rheostat.bundle import Bundle, load
from rheostat.core.files import write_atomically
from rheostat.measure.encoding import batches
from rheostat.measure.probes import machine
from rheostat.measure.timing import PairedTiming, paired
from rheostat.measure.workload import sample
from rheostat.models.segment import Reread
from rheostat.train.data import load_data


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Time the readings and cascades of a bundle; return what was found."""
    data = load_data(args.data, "classification", seed=0)
    folder = args.work / f"{args.data.stem}-{args.recipe}-{args.seed}"
    plain, fixed = load(folder), reading(folder, args.recipe, args.depths, args.words)
    worn = configured(load(folder), {**fixed, "cascade": 0.0}, data, args.max_length)
    dial = {name: float(value) for name, value in fixed.items() if name == "depth"}
    inputs = [each for _, each in batches(worn, sample(data.split("test"), args.rows, 0), args.batch_size)]

    def timed(**settings: float) -> PairedTiming:
        return paired(lambda: _run(plain, inputs, {}), lambda: _run(worn, inputs, {**dial, **settings}), args.pairs)

    whole = timed(tokens=1.0)
    rows = []
    for keep in args.keeps:
        once = timed(tokens=keep)
        for threshold in args.thresholds:
            settings = {**dial, "tokens": keep, "cascade": threshold}
            again = _run(worn, inputs, settings) / args.rows
            twice = timed(tokens=keep, cascade=threshold)
            rows.append(
                {
                    "keep": keep,
                    "threshold": threshold,
                    "again": again,
                    "once": _gain(once),
                    "measured": _gain(twice),
                    "reckoned": 1.0 / (1.0 / once.speedup + again / whole.speedup),
                }
            )
            print(json.dumps(rows[-1]))
    about = {"recipe": args.recipe, "seed": args.seed, "fixed": fixed, "rows": args.rows, "batch_size": args.batch_size}
    return {**about, "whole": _gain(whole), "cascades": rows, "commit": commit(), "machine": machine("cpu")}


def _run(bundle: Bundle, inputs: list[dict[str, Any]], settings: dict[str, float]) -> int:
    """Classify every batch; return how many rows were read twice."""
    again = 0
    with torch.inference_mode(), bundle.handle.at(protect=None, **settings):
        for each in inputs:
            bundle.model(**each)
            ran = bundle.handle.last
            again += len(ran.rows) if isinstance(ran, Reread) else 0
    return again


def _gain(timing: PairedTiming) -> list[float]:
    return [timing.speedup, *timing.speedup_interval]


def main(arguments: list[str] | None = None) -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="parquet with columns text, label, split")
    parser.add_argument("--recipe", default="mixed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--depths", nargs="+", type=int, default=[4, 6], help="as `mixed` was trained with")
    parser.add_argument("--keeps", nargs="+", type=float, default=[0.3, 0.2, 0.1])
    parser.add_argument("--thresholds", nargs="+", type=float, default=[0.8, 0.95])
    parser.add_argument("--rows", type=int, default=160, help="test texts")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--max-length", type=int, default=384)
    parser.add_argument("--words", type=float, default=0.0, help="how often the words' own answer counts")
    parser.add_argument("--work", type=Path, default=Path("benchmarks/work"), help="where bundles are")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    found = measure(args)
    write_atomically(
        args.results / f"cascade-speed-{args.data.stem}{'-words' if args.words else ''}.json",
        json.dumps(found, indent=1) + "\n",
    )
    print("| first reading keeps | below | read twice | first reading alone | cascade, measured | reckoned |")
    print("|---:|---:|---:|---:|---:|---:|")
    for row in found["cascades"]:
        gain, low, high = row["measured"]
        print(
            f"| {row['keep']:g} | {row['threshold']:g} | {row['again']:.0%} | {row['once'][0]:.2f}x | "
            f"{gain:.2f}x ({low:.2f} to {high:.2f}) | {row['reckoned']:.2f}x |"
        )


if __name__ == "__main__":
    main()
