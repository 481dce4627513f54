"""Run: python -m benchmarks.space measure --bundles plain=DIR uniform=DIR ... --data imdb.parquet --out FILE.json

`measure` measures a whole space once: recipe (trained bundles) x tokens x depth x precision x batch x threads. What a
search finds with few measurements can then be compared with the truth, as often as one likes, without measuring again.

Each bundle under each precision is loaded once; its settings are measured in that process, each in turn with the plain
model. Quality is judged once for each recipe, tokens, depth and precision, on validation rows, of which the file keeps
one bit a row, so that two configurations can be compared row by row, and a part of the rows be looked at alone. Every
measurement is kept in a study below ``--work`` as it is made: a run that was stopped, or killed, goes on. Run it on an
otherwise idle machine. Choose nothing by the test split: it is not looked at.

The file also keeps what the cost model of `rheostat optimize` predicts of each configuration on this machine; it is
asked before anything is measured. `predict` asks it again and changes nothing else in the file (--out).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, commit
from rheostat.core.errors import SettingError
from rheostat.core.files import sha256_of, write_atomically
from rheostat.core.goals import Goals, Objective
from rheostat.core.knob import Value
from rheostat.core.space import Axis, Space, Stage
from rheostat.core.trial import Trial
from rheostat.core.workload import Workload
from rheostat.search.costs import CostModel, measured_speeds, predictor, shape_of, usual_length
from rheostat.search.evaluator import Request
from rheostat.search.local import LocalEvaluator, LocalOptions
from rheostat.search.recorded import RecordedSpace
from rheostat.search.sitting import SettingMethod
from rheostat.search.study import Study
from rheostat.search.trainings import GivenBundles
from rheostat.train.data import load_data

VERSION = 1
TRAINED: tuple[Stage, ...] = ("architecture", "finetuning")
JUDGED: tuple[Stage, ...] = (*TRAINED, "inference")
METRICS = (
    "accuracy",
    "latency_p50",
    "latency_p95",
    "throughput_samples",
    "speedup",
    "memory_peak_host",
    "memory_peak_running",
    "memory_activations",
    "memory_weights",
    "energy_per_sample",
    "processor_time_per_sample",
    "macs",
)
"""What a row of the file keeps, where it could be measured."""
PREDICTED = ("latency_p50", "memory_peak_host", "energy_per_sample")
"""What the cost model is asked for; all of it is better the lower it is."""


def measure(args: argparse.Namespace) -> None:
    """Measure what is missing, and write the file."""
    space = space_of(args)
    data = load_data(args.data, "classification", seed=0)
    with Study.open(args.work, _digest(args, space), {"axes": _axes(space)}) as study:
        study.add([Request(one) for one in space.configurations()], "exhaustive")
        said = predictions(space, args, str(next(iter(_bundles(args).values()))))
        evaluator = LocalEvaluator(GivenBundles(_bundles(args)), data, args.work, _options(args))
        with evaluator:
            _finish(study, evaluator, space)
        content = recorded(space, study.trials(), _bundles(args))
    _write(args.out, content, said)
    failed = sum(row["status"] != "ok" for row in content["rows"])
    print(f"Written: {args.out} ({len(content['rows'])} configurations, {failed} failed)")


def predict(args: argparse.Namespace) -> None:
    """Write what the cost model says into a file that was measured already."""
    content = json.loads(args.out.read_text(encoding="utf-8"))
    space = RecordedSpace.read(args.out).space
    source = next(iter(content["trainings"].values()))["settings"]["model"]
    said = predictions(space, args, source)
    _write(args.out, content, said)
    print(f"Written: {args.out} ({len(content['rows'])} configurations)")


def predictions(
    space: Space, args: argparse.Namespace, source: str
) -> Callable[[Mapping[str, Value]], dict[str, float]]:
    """Return what predicts the costs of a configuration as `rheostat optimize` does.

    Args:
        space: Of the configurations.
        args: The options.
        source: The model, or a bundle of it.
    """
    axes = {axis.name: axis.values for axis in space.axes}
    shape = shape_of(source)
    speeds = measured_speeds([int(one) for one in axes["threads"]], [str(one) for one in axes["precision"]], shape)
    texts = load_data(args.data, "classification", seed=0).split(args.split).texts
    work = _options(args).workload
    model = CostModel(shape, speeds, work, usual_length(texts, work.max_length))
    known = predictor(model, Goals(tuple(Objective(name) for name in PREDICTED)))
    return lambda one: {PREDICTED[at]: _short(value) or 0.0 for at, value in known(one).items()}


def _write(path: Path, content: Mapping[str, Any], said: Callable[[Mapping[str, Value]], dict[str, float]]) -> None:
    # One row a line, so that differences can be read.
    rows = ",\n".join(json.dumps({**row, "predicted": said(row["configuration"])}) for row in content["rows"])
    rest = json.dumps({name: part for name, part in content.items() if name != "rows"})
    write_atomically(path, f'{rest[:-1]}, "rows": [\n{rows}\n]}}\n')


def space_of(args: argparse.Namespace) -> Space:
    """Return the space that the options ask for; neutral values are added, since the default is in every space."""
    recipes = tuple(_bundles(args))
    tokens = tuple(sorted({*args.tokens, 1.0}))
    depths = tuple(sorted({*args.depths, args.blocks}))
    precisions = tuple(dict.fromkeys(("fp32", *args.precisions)))
    return Space(
        (
            Axis("recipe", "finetuning", recipes, recipes[0], "how it was trained", ordered=False),
            Axis("precision", "inference", precisions, "fp32", "how weights are held", ordered=False),
            Axis("tokens", "inference", tokens, 1.0, "keep rate of a block"),
            Axis("depth", "inference", depths, args.blocks, "blocks that run"),
            Axis("threads", "deployment", tuple(args.threads), args.threads[-1], "threads of torch"),
            Axis("batch", "deployment", tuple(args.batches), args.batches[-1], "rows of a request"),
        )
    )


def recorded(space: Space, trials: Sequence[Trial], bundles: Mapping[str, Path]) -> dict[str, Any]:
    """Return the file's content.

    Args:
        space: What was measured.
        trials: All of it.
        bundles: The bundle of each recipe.
    """
    right: dict[str, str] = {}
    for trial in trials:
        if bits := trial.measurement.samples.get("right"):
            right.setdefault(part_key(space, trial.configuration, JUDGED), to_hex(bits))
    first = next((trial.measurement for trial in trials if trial.ok), trials[0].measurement)
    return {
        "version": VERSION,
        "commit": commit(),
        "axes": _axes(space),
        "machine": first.machine,
        "workload": {**first.workload, "rows": len(first.samples.get("right", ()))},
        "sources": {name: [one.provenance, one.source] for name, one in first.metrics.items() if name in METRICS},
        "rows": [_row(trial) for trial in trials],
        "right": right,
        "trainings": {
            part_key(space, {"recipe": recipe}, TRAINED): _training(folder) for recipe, folder in bundles.items()
        },
    }


def part_key(space: Space, configuration: Mapping[str, Value], stages: Sequence[Stage]) -> str:
    """Return what a configuration says of some stages as JSON, in the order of the space."""
    return json.dumps(space.part(space.canonical(configuration), stages))


def to_hex(bits: Sequence[int]) -> str:
    """Return bits as hexadecimal digits, the first bit being the highest of the first digit.

    Example:
        >>> to_hex([1, 0, 0, 0, 1])
        '88'
    """
    padded = [*bits, *[0] * (-len(bits) % 4)]
    return f"{int(''.join(map(str, padded)), 2):0{len(padded) // 4}x}"


def _finish(study: Study, evaluator: LocalEvaluator, space: Space) -> None:
    claims = {space.key(claim.request.configuration): claim for claim in study.claim()}
    total, start = sum(study.counts().values()), time.monotonic()
    wanted = [claim.request for claim in claims.values()]
    for done, measurement in enumerate(evaluator.evaluate(wanted), start=1):
        claim = claims[space.key(measurement.configuration)]
        study.finish(claim.number, measurement, measurement.conditions["seconds"])
        left = (time.monotonic() - start) / done * (len(claims) - done)
        latency, quality = (measurement.metrics.get(name) for name in ("latency_p50", "accuracy"))
        told = [
            f"{metric.value:.4g}" for metric in (latency, quality) if metric is not None and metric.value is not None
        ]
        print(f"{total - len(claims) + done}/{total}, {left / 60:.0f} min left: {claim.request.configuration} "
              f"{measurement.status} {' '.join(told)}{measurement.reason}", flush=True)  # fmt: skip


def _row(trial: Trial) -> dict[str, Any]:
    found = trial.measurement
    kept = {name: found.metrics[name] for name in METRICS if name in found.metrics}
    metrics = {
        name: [_short(number) for number in (metric.value, metric.low, metric.high)]
        for name, metric in kept.items()
        if metric.value is not None
    }
    parts = {name: _short(seconds) for name, seconds in found.conditions.items() if name.endswith("_seconds")}
    about = {"configuration": dict(trial.configuration), "status": found.status, "reason": found.reason}
    return {**about, "metrics": metrics, "seconds": _short(trial.seconds), **parts}


def _short(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.6g}")


def _axes(space: Space) -> list[dict[str, Any]]:
    names = ("name", "stage", "values", "default", "what", "ordered", "when")
    return [json.loads(json.dumps({name: getattr(axis, name) for name in names})) for axis in space.axes]


def _training(folder: Path) -> dict[str, Any]:
    training = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))["training"]
    return {
        "bundle": folder.name,
        "seconds": training.get("seconds_since_start_or_resume", 0.0),
        **{name: training[name] for name in ("steps", "stopped_by", "settings") if name in training},
    }


def _options(args: argparse.Namespace) -> LocalOptions:
    workload = Workload(
        "classify", batch_size=args.batches[-1], max_length=args.max_length, quality_rows=args.quality_rows
    )
    method = SettingMethod(rounds=args.rounds, rows=args.rows)
    return LocalOptions(workload, method, args.split, args.threads[-1], args.watts)


def _digest(args: argparse.Namespace, space: Space) -> str:
    facts = [_axes(space), args.rounds, args.rows, args.quality_rows, args.max_length, args.split, args.watts]
    weights = [sha256_of(folder / "bundle.json") for folder in _bundles(args).values()]
    return json.dumps([facts, weights, sha256_of(args.data)])


def _bundles(args: argparse.Namespace) -> dict[str, Path]:
    found = {}
    for given in args.bundles:
        recipe, sign, folder = given.partition("=")
        if not sign or not Path(folder).is_dir():
            raise SettingError("A bundle is given as RECIPE=FOLDER.", given=repr(given))
        found[recipe] = Path(folder)
    return found


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("stage", choices=["measure", "predict"])
    found.add_argument("--bundles", nargs="+", default=[], metavar="RECIPE=DIR", help="the default recipe first")
    found.add_argument("--data", type=Path, required=True, help="parquet with columns text, label, split")
    found.add_argument("--out", type=Path, default=RESULTS / "space-imdb.json")
    found.add_argument("--work", type=Path, default=Path("benchmarks/work/space"), help="where measurements are kept")
    found.add_argument("--tokens", nargs="+", type=float, default=[0.4, 0.6, 0.8, 1.0])
    found.add_argument("--depths", nargs="+", type=int, default=[3, 4, 6])
    found.add_argument("--blocks", type=int, default=6, help="blocks of the model")
    found.add_argument("--precisions", nargs="+", default=["fp32", "int8-weight", "int8"])
    found.add_argument("--batches", nargs="+", type=int, default=[1, 4, 16], help="the default last")
    found.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="the default last")
    found.add_argument("--split", default="validation")
    found.add_argument("--quality-rows", type=int, default=1000, help="rows that quality is judged on, at most")
    found.add_argument("--max-length", type=int, default=256, help="tokens of a text")
    found.add_argument("--watts", type=float, default=4.0, help="of a busy core, where nothing measures energy")
    found.add_argument("--rounds", type=int, default=4)
    found.add_argument("--rows", type=int, default=16, help="rows of a turn")
    return found


def main() -> None:
    """Read the command line."""
    args = parser().parse_args()
    {"measure": measure, "predict": predict}[args.stage](args)


if __name__ == "__main__":
    main()
