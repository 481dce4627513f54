"""Two processes train as one with twice the batch; alone, nothing is asked of others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rheostat.bundle import load, read_manifest
from rheostat.train.finetune import FinetuneSettings, finetune
from rheostat.train.together import from_main, is_main, mean_over_processes, on_main, processes
from tests.saved import make_data, save_tiny


def test_alone_a_process_is_the_main_one() -> None:
    assert (processes(), is_main(), from_main(3), mean_over_processes([1.5])) == (1, True, 3, [1.5])
    assert on_main(lambda: 4) == 4


def surroundings() -> dict[str, str]:
    root = Path(__file__).parents[2]
    paths = os.pathsep.join([str(root / "src"), str(root)])
    return {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}


def start(folder: Path, model: Path, data: Path, *options: str) -> subprocess.Popen[str]:
    """Start ``finetune`` in two processes on the CPU, whose steps have 4 + 4 rows."""
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    quiet = ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    what = ["--model", str(model), "--data", str(data), "--out", str(folder), "--json"]
    how = ["--epochs", "2", "--max-length", "48", "--learning-rate", "1e-3", "--batch-size", "4", *options]
    command = [*launcher, *quiet, "-m", "rheostat", "finetune", *what, *how]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=surroundings(), start_new_session=True, **pipes)


def launch(folder: Path, model: Path, data: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run ``finetune`` in two processes to its end."""
    with start(folder, model, data, *options) as started:
        stdout, stderr = started.communicate(timeout=280)
    return subprocess.CompletedProcess(started.args, started.returncode, stdout, stderr)


def write(path: Path, data: Any, **columns: Any) -> Path:
    rows = [
        {"text": text, "label": data.label_names[label], "split": name}
        for name, split in data.splits.items()
        for text, label in zip(split.texts, split.labels, strict=True)
    ]
    path.write_text("".join(json.dumps({**row, **columns}) + "\n" for row in rows))
    return path


@pytest.mark.slow
def test_processes_leave_their_group_before_they_end(tmp_path: Path) -> None:
    program = tmp_path / "joins.py"
    program.write_text(
        "import atexit\n"
        "from torch import distributed\n"
        "from rheostat.train.together import join, processes\n"
        # What is registered first is called last.
        "atexit.register(lambda: print('in a group at the end:', distributed.is_initialized()))\n"
        "join()\n"
        "join()\n"
        "assert processes() == 2\n"
    )
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(program)]
    done = subprocess.run(launcher, env=surroundings(), capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["in a group at the end: False"] * 2


@pytest.mark.slow
def test_two_processes_learn_what_one_does_with_twice_the_batch(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "model", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    data = write(tmp_path / "data.jsonl", make_data(rows=32, words=40))
    done = launch(tmp_path / "two", model, data, "--evaluate-steps", "3", "--choose", "best", "--max-minutes", "30")
    assert done.returncode == 0, done.stderr
    # One document: the other process prints nothing.
    assert json.loads(done.stdout)["bundle"] == str(tmp_path / "two")
    assert done.stderr.count("epoch 2: validation") == 1
    one = finetune(
        FinetuneSettings(
            model,
            data,
            tmp_path / "one",
            epochs=2,
            max_length=48,
            learning_rate=1e-3,
            batch_size=8,
            evaluate_steps=3,
            choose="best",
            max_minutes=30.0,
        )
    )
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == sorted(path.name for path in one.iterdir())
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (one, tmp_path / "two"))
    for name, weight in ours.items():
        # Attention does not depend on it: its gradient is rounding alone, which Adam makes steps of.
        if not name.endswith("key.bias"):
            torch.testing.assert_close(weight, theirs[name], rtol=0, atol=2e-5)
    mine, other = (read_manifest(folder)["training"] for folder in (one, tmp_path / "two"))
    assert mine["steps"] == other["steps"] == 8
    assert other["settings"]["processes"] == 2
    for name, values in mine["loss_by_keep_rate"].items():
        assert other["loss_by_keep_rate"][name]["steps"] == values["steps"]
        assert other["loss_by_keep_rate"][name]["loss"] == pytest.approx(values["loss"], rel=1e-3)
    assert load(tmp_path / "two").task == "classification"


@pytest.mark.slow
def test_answers_of_unlike_lengths_weigh_the_same_in_two_processes(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "model", "causal-lm")
    answers = [" ".join(f"w{n + at}" for at in range(1 + n % 6)) for n in range(36)]
    # 32 rows are four steps: a last one that is not full would be filled up with rows of the first, in two processes.
    rows = [
        {
            "prompt": " ".join(f"w{7 * n * at % 91}" for at in range(20 + n % 9)),
            "answer": answer,
            "split": "train" if n < 32 else "validation",
        }
        for n, answer in enumerate(answers)
    ]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = launch(tmp_path / "two", model, data, "--task", "causal-lm")
    assert done.returncode == 0, done.stderr
    settings = FinetuneSettings(model, data, tmp_path / "one", "causal-lm", epochs=2, max_length=48, batch_size=8)
    one = finetune(replace(settings, learning_rate=1e-3))
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (one, tmp_path / "two"))
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name], rtol=0, atol=2e-5)


@pytest.mark.slow
def test_two_killed_processes_go_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    """With dropout: each process goes on with its own random numbers."""
    model, data = save_tiny(tmp_path / "model"), write(tmp_path / "data.jsonl", make_data(rows=32, words=40))
    often = ("--epochs", "12", "--save-minutes", "0.0001")
    assert launch(tmp_path / "whole", model, data, *often).returncode == 0
    first = tmp_path / "killed" / ".checkpoints" / "checkpoint-5" / "trainer_state.json"
    with start(tmp_path / "killed", model, data, *often) as started:
        while not first.exists():
            assert started.poll() is None, started.communicate()
            time.sleep(0.01)
        os.killpg(started.pid, signal.SIGKILL)
    assert not (tmp_path / "killed" / "bundle.json").exists()
    resumed = launch(tmp_path / "killed", model, data, *often, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "continued from checkpoint-" in (tmp_path / "killed" / "README.md").read_text()
    whole, killed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(weight, killed[name]) for name, weight in whole.items())


@pytest.mark.slow
def test_an_error_of_two_processes_ends_both(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "model")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").touch()
    done = launch(tmp_path / "out", model, write(tmp_path / "data.jsonl", make_data()))
    assert done.returncode != 0
    assert "over another bundle" in done.stdout + done.stderr
