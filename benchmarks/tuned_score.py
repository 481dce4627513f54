"""Run: python -m benchmarks.tuned_score judge, then cost and table, with --data FOLDER: AE-LLM's score on reviews.

What does a language model gain that `benchmarks.tuned_language` tuned for the dial, as AE-LLM counts it: latency, peak
memory and energy over the default configuration, at most 1.2 points of quality lost? `judge` asks for the verdict on
train reviews that tuning did not see, untuned and tuned, at each precision and keep rate; the threshold between the two
words is fitted to 200 others in the same setting. `cost` measures prompts that are as long as those reviews are on
average, each setting in turn with the plain model; it wants a machine that does nothing else. `table` puts them
together, over two defaults: the model as it comes, and the tuned one at neutral. Where nothing measures energy, it is
estimated: processor time times `--watts` a core. No test split is looked at. What is on file is not judged again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import GEMMA, RESULTS, commit
from benchmarks.tuned_language import HELD_OUT, REVIEWS, review_windows, verdict_scores, verdict_tokens
from rheostat.core.files import write_atomically
from rheostat.core.measurement import Measurement, read_measurements
from rheostat.core.metrics import Metric
from rheostat.core.score import ALLOWED_LOSS, Score, efficiency_score
from rheostat.core.workload import Data, Method, Workload
from rheostat.measure.bench.bench import bench
from rheostat.measure.bench.laboratory import BenchOptions
from rheostat.measure.bench.plan import configurations
from rheostat.measure.probes import machine
from rheostat.models.sources import load_model
from rheostat.search.processor import estimated_energy
from rheostat.techniques.configuration import configure
from rheostat.train.data import load_data

TOKENS = 246
"""Mean length of the prompts of 500 train reviews, cut at 384."""
_STEM = "tuned-score"


def judge(options: argparse.Namespace) -> None:
    """Judge every setting that is not on file."""
    for name in options.models:
        for precision in options.precisions:
            file = options.results / f"{_STEM}-{name}-{precision}.json"
            rows = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.is_file() else []
            left = [keep for keep in options.keeps if all(row["keep"] != keep for row in rows)]
            if not left:
                continue
            loaded = load_model(options.model if name == "untuned" else str(options.bundle), "causal-lm")
            # Tuning saw the reviews between the two.
            start = HELD_OUT + REVIEWS
            parts = [
                review_windows(options.data, loaded.tokenizer, "train", rows_of)
                for rows_of in (slice(HELD_OUT), slice(start, start + options.reviews))
            ]
            words = verdict_tokens(loaded.tokenizer)
            handle = configure(loaded.model, {"precision": precision, "tokens": 1.0, "scorer": "mean"})
            for keep in left:
                chosen, asked = (verdict_scores(handle, part, keep, words) for part in parts)
                threshold = boundary(chosen)
                right = [(score > threshold) == label for score, label in asked]
                rows.append({"model": name, "precision": precision, "keep": keep, "accuracy": sum(right) / len(right),
                             "threshold": threshold, "chosen": chosen, "asked": asked})  # fmt: skip
                content = {"machine": machine("cpu"), "commit": commit(), "rows": rows}
                write_atomically(file, json.dumps(content) + "\n")
                print(name, precision, keep, f"{rows[-1]['accuracy']:.1%} of {len(right)}", file=sys.stderr)


def boundary(scores: Sequence[tuple[float, bool]]) -> float:
    """Return where logistic regression puts the threshold: it moves less from sample to sample than the best cut."""
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=1e6).fit([[score] for score, _ in scores], [label for _, label in scores])
    return float(-fitted.intercept_[0] / fitted.coef_[0, 0])


def cost(options: argparse.Namespace) -> None:
    """Measure latency, memory and energy of every setting, in turn with the plain model."""
    bench(
        [str(options.bundle)],
        Workload("prefill", requests=8, prompt_tokens=TOKENS, quality_rows=2),
        configurations({"scorer": "mean"}, {"precision": options.precisions, "tokens": options.keeps}),
        data=Data(load_data(options.data / "imdb.parquet", "causal-lm", seed=0), "validation"),
        method=Method(rounds=6, sittings=2),
        options=BenchOptions(_costs(options)),
    )


def table(options: argparse.Namespace) -> None:
    """Print the score of every setting over two defaults, and the best that loses few enough points."""
    costs = {
        (one.configuration["precision"], one.configuration["tokens"]): _with_energy(one, options.watts)
        for one in read_measurements(_costs(options))
        if one.status == "ok"
    }
    rows = [row for row in _judged(options) if _key(row) in costs]
    for default in ("untuned", "tuned"):
        plain = next(row for row in rows if _is(row, default, "fp32", 1.0))
        scored = [(row, _score(row, plain, costs)) for row in rows]
        print(f"\nOver the {default} model in fp32 at neutral, {plain['accuracy']:.1%}:\n")
        print("| model | precision | keep | accuracy | points lost | latency, memory, energy | score |")
        print("|---|---|---:|---:|---:|---|---:|")
        for row, score in scored:
            print(_line(row, score))
        kept = [pair for pair in scored if pair[1].value and pair[1].allowed]
        best = max(kept, key=lambda pair: pair[1].value or 0.0, default=None)
        said = "no setting has a score: is energy measured here?" if best is None else _line(*best)
        print(f"\nBest within {ALLOWED_LOSS} points: {said}")


def _with_energy(one: Measurement, watts: float) -> Mapping[str, Metric]:
    """Return the metrics with ``energy_per_sample``, estimated if it was not measured."""
    metrics = one.metrics
    busy, seconds = metrics["processor_utilisation"].value, metrics["latency_p50"].value
    if metrics["energy_per_sample"].value is not None or busy is None or seconds is None:
        return metrics
    return {**metrics, **estimated_energy([busy * one.machine["cores"] * seconds], watts)}


def _score(row: Mapping[str, Any], plain: Mapping[str, Any], costs: Mapping[Any, Mapping[str, Metric]]) -> Score:
    # What a forward costs does not depend on what the weights are.
    here, there = ({**costs[_key(one)], "accuracy": Metric(one["accuracy"], "1")} for one in (row, plain))
    return efficiency_score(here, there)


def _line(row: Mapping[str, Any], score: Score) -> str:
    gains = ", ".join("-" if gain is None else f"{gain:.2f}" for gain in score.gains.values())
    value = "-" if score.value is None else f"{score.value:.2f}"
    head = f"| {row['model']} | {row['precision']} | {row['keep']:g} | {row['accuracy']:.1%} | {score.lost:.1f} "
    return f"{head}| {gains} ({score.energy}) | {value} |"


def _key(row: Mapping[str, Any]) -> tuple[str, float]:
    return row["precision"], row["keep"]


def _is(row: Mapping[str, Any], model: str, precision: str, keep: float) -> bool:
    return (row["model"], *_key(row)) == (model, precision, keep)


def _judged(options: argparse.Namespace) -> list[dict[str, Any]]:
    files = sorted(Path(options.results).glob(f"{_STEM}-*tuned-*.json"))
    return [row for file in files for row in json.loads(file.read_text(encoding="utf-8"))["rows"]]


def _costs(options: argparse.Namespace) -> Path:
    return Path(options.results) / f"{_STEM}-cost"


def main(arguments: list[str] | None = None) -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["judge", "cost", "table"])
    parser.add_argument("--data", type=Path, help="folder with the text sets")
    parser.add_argument("--model", default=GEMMA)
    parser.add_argument("--bundle", type=Path, default=Path("benchmarks/work/gemma-tuned"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--models", nargs="+", choices=["untuned", "tuned"], default=["untuned", "tuned"])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "int8"])
    parser.add_argument("--keeps", type=float, nargs="+", default=[1.0, 0.95, 0.9, 0.85, 0.8])
    parser.add_argument("--watts", type=float, default=4.0, help="of a busy core, where nothing measures energy")
    parser.add_argument("--reviews", type=int, default=300, help="reviews that are judged")
    options = parser.parse_args(arguments)
    {"judge": judge, "cost": cost, "table": table}[options.stage](options)


if __name__ == "__main__":
    main()
