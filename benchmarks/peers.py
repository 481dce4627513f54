"""Run: python -m benchmarks.peers --model FOLDER --data FILE --ours BUNDLE --configuration JSON --peer-python PYTHON.

What does another optimiser return in the same time, given the same model and goal? The peer is Microsoft Olive with
ONNX Runtime, in an environment of its own; it needs some packages that it does not ask for, and an older pydantic:

    python3.11 -m venv PEER && PEER/bin/pip install torch==2.13.0 && PEER/bin/pip install olive-ai==0.13.0 \\
        onnxruntime==1.31.1 "pydantic<2.12" transformers==5.23.0 requests psutil tabulate

The goal: the lowest latency of a request with at most ``--drop`` points of accuracy lost on the validation rows. The
peer searches for ``--seconds``. Then four are measured side by side, each in a process of its own, in rounds whose
order turns, on the same token ids: the plain model here, ours, the plain model in ONNX Runtime, and what the peer
returned. The test rows, on which nobody chose anything, are judged once. Reading texts into tokens is left out: all
read with the same tokenizer. ``--study FOLDER`` takes ours and the seconds from a study of ``rheostat optimize``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from transformers import AutoConfig, AutoTokenizer

from benchmarks.common import RESULTS, commit
from rheostat.core.errors import RheostatError
from rheostat.core.files import write_atomically
from rheostat.core.text import Split
from rheostat.measure.bench.process import MeasuredProcess
from rheostat.measure.intervals import median_interval, wilson_interval
from rheostat.measure.probes import machine
from rheostat.measure.probes.probe import PeakResidentMemory
from rheostat.search.parts import parts_of
from rheostat.train.data import load_data

DRIVER = Path(__file__).with_name("peers_driver.py")
WEIGHTS = (".safetensors", ".onnx", ".data")
PATIENCE = 3600.0


@dataclass
class Entrant:
    """One that is measured.

    Attributes:
        name: What tables call it.
        command: Its process, which obeys `benchmarks.peers_driver`'s orders.
        order: What it is told to load.
        disk: Bytes of its weights on disk.
        rounds: Seconds of each request, by round.
        peaks: Most resident bytes in each sitting, while it answered.
        classes: The class found for each row, by file of rows.
    """

    name: str
    command: list[str]
    order: dict[str, Any]
    disk: int
    rounds: list[list[float]] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)
    classes: dict[str, list[int]] = field(default_factory=dict)


def main(arguments: list[str] | None = None) -> None:
    options = _options(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    labels = prepare(options)
    if not options.measure_only:
        _search(options)
    found = json.loads((options.work / "found.json").read_text())
    entrants = _entrants(options, found)
    for sitting in range(options.sittings):
        _sit(options, entrants, judge=sitting == 0)
    rows = [_row(one, entrants[0], labels, options.drop) for one in entrants]
    write_atomically(options.out, json.dumps({**_about(options, found), "rows": rows}, indent=2) + "\n")
    text = table(rows)
    write_atomically(options.out.with_suffix(".md"), text)
    print(f"{text}\nWritten: {options.out}")


def prepare(options: argparse.Namespace) -> dict[str, list[int]]:
    """Write the token ids of all rows, and what the peer has to know; return the labels of the judged rows."""
    data, config = load_data(options.data, "classification"), AutoConfig.from_pretrained(options.model)
    validation = data.split("validation").take(range(min(options.rows, len(data.split("validation")))))
    test = data.split("test").take(range(min(options.test_rows, len(data.split("test")))))
    files = {"validation": validation, "test": test, "calibration": data.split("train").take(range(options.batch * 8))}
    for name, rows in files.items():
        _write(options, name, rows)
    _write(options, "timed", validation.take(range(options.batch * options.requests)))
    task = {
        "model": str(options.model.resolve()),
        "classes": config.num_labels,
        "heads": config.num_attention_heads,
        "width": config.hidden_size,
        "drop": options.drop / 100,
        "trials": options.trials,
    }
    (options.work / "task.json").write_text(json.dumps(task))
    return {name: list(files[name].labels or ()) for name in ("validation", "test")}


def _write(options: argparse.Namespace, name: str, rows: Split) -> None:
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    ids = tokenizer(rows.texts, rows.pairs, truncation=True, max_length=options.max_length)["input_ids"]
    facts = {"batch": options.batch, "pad": tokenizer.pad_token_id, "inputs": tokenizer.model_input_names}
    (options.work / f"{name}.json").write_text(json.dumps({"rows": ids, "labels": rows.labels, **facts}))


def _search(options: argparse.Namespace) -> None:
    """Let the peer search in its own environment, which must see nothing of this one."""
    command = [options.peer_python, "-I", str(DRIVER), "search", str(options.work.resolve())]
    ran = subprocess.run([*command, str(options.seconds), str(options.threads)], check=False)
    if ran.returncode != 0:
        raise RheostatError("The peer's search ends with what it found.", given=f"code {ran.returncode}")


def _entrants(options: argparse.Namespace, found: Mapping[str, Any]) -> list[Entrant]:
    here = [sys.executable, "-m", "benchmarks.peers_ours"]
    there = [options.peer_python, "-I", str(DRIVER), "serve"]
    # The training lies in the bundle, and the rows of a request are the goal's.
    parts = parts_of(options.configuration)
    best = {**_ours(options.ours, {**parts.knobs, **parts.dials}, options), "threads": parts.threads or options.threads}
    load = {"rows": {name: str((options.work / f"{name}.json").resolve()) for name in ("timed", "validation", "test")}}
    entrants = [
        Entrant("plain", here, {**load, **_ours(options.model, {}, options)}, _disk(options.model)),
        Entrant("rheostat", here, {**load, **best}, _disk(options.ours)),
    ]
    converted = options.work / "converted" / "model_config.json"
    graphs = {"ONNX Runtime": json.loads(converted.read_text()) if converted.is_file() else None}
    for name, graph in {**graphs, "Olive": found["returned"]}.items():
        if graph is not None:
            order = {**load, "returned": graph, "threads": options.threads}
            entrants.append(Entrant(name, there, order, _disk(Path(graph["config"]["model_path"]))))
    return entrants


def _ours(folder: Path, configuration: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    settings = {"max_length": options.max_length, "threads": options.threads}
    return {"source": str(folder.resolve()), "configuration": dict(configuration), **settings}


def _disk(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else path.parent.iterdir()
    return sum(file.stat().st_size for file in files if file.suffix in WEIGHTS)


def _sit(options: argparse.Namespace, entrants: Sequence[Entrant], *, judge: bool) -> None:
    """Start a process for each, let them take turns, and end them."""
    running: list[tuple[Entrant, MeasuredProcess]] = []
    try:
        for one in entrants:
            process = MeasuredProcess(threads=one.order["threads"], command=one.command)
            running.append((one, process))
            process.ask("load", PATIENCE, **one.order)
            for _ in range(2):
                process.ask("run", PATIENCE, name="timed")
        peaks = {one.name: PeakResidentMemory(process.pid) for one, process in running}
        for peak in peaks.values():
            peak.reset()
        for number in range(options.rounds):
            turn = number % len(running)
            for one, process in running[turn:] + running[:turn]:
                one.rounds.append(process.ask("run", PATIENCE, name="timed")["seconds"])
        for one, process in running:
            one.peaks.append(peaks[one.name].read())
            for name in ("validation", "test") if judge else ():
                one.classes[name] = process.ask("judge", PATIENCE, name=name)["classes"]
    finally:
        for _, process in running:
            process.close()


def _row(one: Entrant, plain: Entrant, labels: Mapping[str, list[int]], drop: float) -> dict[str, Any]:
    ratios = [sum(before) / sum(now) for before, now in zip(plain.rounds, one.rounds, strict=True)]
    medians = [median(each) for each in one.rounds]
    right = {name: _right(one.classes[name], wanted) for name, wanted in labels.items()}
    before = _right(plain.classes["validation"], labels["validation"])
    lost = 100 * (sum(before) - sum(right["validation"])) / len(before)
    return {
        "name": one.name,
        "latency_p50": median(second for each in one.rounds for second in each),
        "latency_p50_95": list(median_interval(medians)),
        "speedup": median(ratios),
        "speedup_95": list(median_interval(ratios)),
        **{f"accuracy_{name}": sum(found) / len(found) for name, found in right.items()},
        **{f"accuracy_{name}_95": list(wilson_interval(sum(found), len(found))) for name, found in right.items()},
        "points_lost_validation": lost,
        "keeps_the_goal": lost <= drop + 1e-9,
        "disk_bytes": one.disk,
        "memory_peak_running": max(one.peaks),
        "rounds": one.rounds,
    }


def _right(found: Sequence[int], wanted: Sequence[int]) -> list[bool]:
    return [one == other for one, other in zip(found, wanted, strict=True)]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as Markdown."""
    lines = [
        "| | latency p50, ms | times faster | accuracy, validation | accuracy, test | keeps the goal "
        "| weights on disk, MB | most memory while running, MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = (1000 * each for each in row["latency_p50_95"])
        cells = [
            row["name"],
            f"{1000 * row['latency_p50']:.1f} ({low:.1f} to {high:.1f})",
            f"{row['speedup']:.2f} ({row['speedup_95'][0]:.2f} to {row['speedup_95'][1]:.2f})",
            f"{100 * row['accuracy_validation']:.1f} %",
            f"{100 * row['accuracy_test']:.1f} %",
            "yes" if row["keeps_the_goal"] else "no",
            f"{row['disk_bytes'] / 1e6:.0f}",
            f"{row['memory_peak_running'] / 1e6:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _about(options: argparse.Namespace, found: Mapping[str, Any]) -> dict[str, Any]:
    plain = ("seconds", "drop", "rows", "test_rows", "max_length", "batch", "requests", "rounds", "sittings", "threads")
    return {
        "commit": commit(),
        "machine": machine("cpu"),
        "goal": f"lowest latency of {options.batch} rows, at most {options.drop:g} points of accuracy lost",
        **{name: getattr(options, name) for name in plain},
        "model": options.model.name,
        "data": options.data.name,
        "configuration": options.configuration,
        "seconds_ours": options.seconds_ours,
        "peer": {**found, "returned": found["returned"] is not None},
    }


def _options(arguments: list[str] | None) -> argparse.Namespace:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--model", type=Path, required=True, help="folder of the fine-tuned plain classifier")
    found.add_argument("--data", type=Path, required=True)
    found.add_argument("--study", type=Path, help="folder of a study: its recommendation and its seconds are taken")
    found.add_argument("--ours", type=Path, help="bundle that we recommend")
    found.add_argument("--configuration", type=json.loads, help="how it runs, as JSON")
    found.add_argument("--peer-python", required=True, help="Python of the peer's environment")
    found.add_argument("--seconds", type=int, default=2700, help="for the peer's search")
    found.add_argument("--trials", type=int, default=1000, help="trials of the peer at most")
    found.add_argument("--drop", type=float, default=1.0, help="points of accuracy that may be lost")
    found.add_argument("--rows", type=int, default=500, help="validation rows")
    found.add_argument("--test-rows", type=int, default=1000)
    found.add_argument("--max-length", type=int, default=384)
    found.add_argument("--batch", type=int, default=8)
    found.add_argument("--requests", type=int, default=4, help="different requests")
    found.add_argument("--rounds", type=int, default=12, help="of each sitting")
    found.add_argument("--sittings", type=int, default=3)
    found.add_argument("--threads", type=int, default=2)
    found.add_argument("--measure-only", action="store_true", help="take what a search before left in --work")
    found.add_argument("--work", type=Path, default=Path("peers-work"), help="folder for what the peer writes")
    found.add_argument("--out", type=Path, default=RESULTS / "peers.json")
    options = found.parse_args(arguments)
    options.seconds_ours = None
    if options.study is not None:
        result = json.loads((options.study / "result.json").read_text())
        best = result["recommended"]
        options.ours, options.configuration = options.study / best["bundle"], best["configuration"]
        options.seconds_ours = result["seconds"]
        options.seconds = round(result["seconds"])
    if options.ours is None or options.configuration is None:
        found.error("give --study, or --ours and --configuration")
    return options


if __name__ == "__main__":
    main()
