"""A run with every feature: the same in parts as at once, and the same after a kill as without."""

from __future__ import annotations

import errno
import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback, TrainerState

from rheostat.bundle import load, read_manifest
from rheostat.core.errors import TrainingError
from rheostat.core.text import Split, TextData
from rheostat.train import checkpoints
from rheostat.train import finetune as finetuning
from rheostat.train.endings import TimeBudget
from rheostat.train.finetune import FinetuneSettings, finetune
from rheostat.train.recipes import Uniform
from tests.saved import make_data, save_tiny

Make = Callable[..., FinetuneSettings]


class Killed(Exception):  # noqa: N818 - it is no error of ours
    """Stands for a kill: nothing of ours catches it."""


class Kill(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise Killed


class Watched:
    """The trainers that runs have made; the next ones are killed in step ``kill_after``, before its checkpoint."""

    def __init__(self) -> None:
        self.kill_after = -1
        self.trainers: list[Any] = []

    def log(self) -> list[dict[str, Any]]:
        """The last run's log: losses, learning rates and validation, without times."""
        return [entry for entry in self.trainers[-1].state.log_history if "loss" in entry or "validation" in entry]


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    seen, plain = Watched(), finetuning._trainer

    def trainer(*args: Any) -> Any:
        made = plain(*args)
        made[0].add_callback(Kill(seen.kill_after))
        seen.trainers.append(made[0])
        return made

    monkeypatch.setattr(finetuning, "_trainer", trainer)
    monkeypatch.setattr(finetuning, "_LOG_STEPS", 3)
    return seen


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step takes a second."""

    def budget(minutes: float, warmup: float, clock: Any) -> TimeBudget:
        ticks = itertools.count()
        return TimeBudget(minutes, warmup, lambda: float(next(ticks)))

    monkeypatch.setattr(finetuning, "TimeBudget", budget)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {task: save_tiny(folder / task, task) for task in ("classification", "causal-lm")}


@pytest.fixture
def make(models: dict[str, Path], tmp_path: Path) -> Make:
    def settings(name: str, **changes: Any) -> FinetuneSettings:
        task = changes.get("task", "classification")
        data = make_data(words=24) if task == "classification" else answers()
        usual = {"epochs": 3, "max_length": 24, "batch_size": 4, "learning_rate": 1e-3, "save_minutes": 1e-9}
        return FinetuneSettings(models[task], data, tmp_path / name, **{**usual, **changes})

    return settings


def answers() -> TextData:
    """Prompts long enough to be pruned, with answers of one to five words."""
    texts = [" ".join(f"w{7 * n * at % 91}" for at in range(14 + n % 5)) for n in range(24)]
    split = Split(texts, [" ".join(f"w{n + at}" for at in range(1 + n % 5)) for n in range(24)])
    return TextData({"train": split, "validation": split.take(range(6))}, "causal-lm")


def same(first: Path, second: Path) -> bool:
    one, two = (load_file(folder / "model.safetensors") for folder in (first, second))
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def assert_close(first: Path, second: Path, tolerance: float) -> None:
    one, two = (load_file(folder / "model.safetensors") for folder in (first, second))
    for name, weight in one.items():
        # Attention does not depend on it: its gradient is rounding alone, which Adam makes steps of.
        if name.endswith("key.bias"):
            continue
        torch.testing.assert_close(weight, two[name], rtol=0, atol=tolerance)


FEATURES: dict[str, dict[str, Any]] = {
    "accumulation": {"accumulate": 2, "batch_size": 3},
    "patience": {"patience": 2, "evaluate_steps": 2, "learning_rate": 1e-8, "epochs": 9},
    "a time budget": {"max_minutes": 11 / 60},
    "answers": {"task": "causal-lm", "accumulate": 2},
    "all of it": {
        "task": "causal-lm",
        "accumulate": 2,
        "batch_size": 2,
        "precision": "bf16",
        "evaluate_steps": 3,
        "choose": "best",
        "patience": 50,
        "max_minutes": 14 / 60,
        "lora": 2,
        "epochs": 20,
    },
}


@pytest.mark.usefixtures("ticking")
@pytest.mark.parametrize("name", FEATURES)
def test_a_killed_run_logs_and_learns_what_an_uninterrupted_one_does(watched: Watched, make: Make, name: str) -> None:
    features = FEATURES[name]
    whole = finetune(make("whole", **features))
    expected = watched.log()
    assert any("loss" in entry for entry in expected)
    # A checkpoint at every step; the fourth stands between two entries of the log.
    watched.kill_after = 5
    with pytest.raises(Killed):
        finetune(make("resumed", **features))
    watched.kill_after = -1
    resumed = finetune(make("resumed", **features, resume=True))
    assert watched.log() == expected
    assert same(whole, resumed)
    one, two = (read_manifest(folder)["training"] for folder in (whole, resumed))
    for part in ("validation", "loss_by_keep_rate", "steps", "stopped_by", "epoch_kept"):
        assert one[part] == two[part]


@pytest.mark.usefixtures("ticking")
@pytest.mark.parametrize("name", ["patience", "a time budget", "all of it"])
def test_an_early_end_is_told_and_stays_the_end(
    watched: Watched, make: Make, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = finetune(make("whole", **FEATURES[name]))
    training = read_manifest(whole)["training"]
    assert training["steps"] == {"patience": 6, "a time budget": 11, "all of it": 14}[name]
    assert training["stopped_by"].startswith("patience: 2 looks" if name == "patience" else "max_minutes: ")
    assert training["validation"][-1]["step"] == training["steps"]

    def die(*args: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(finetuning, "save_bundle", die)
        with pytest.raises(Killed):
            finetune(make("again", **FEATURES[name]))
    again = finetune(make("again", **FEATURES[name], resume=True))
    assert read_manifest(again)["training"]["steps"] == training["steps"]
    assert same(whole, again)


@pytest.mark.parametrize(("clock", "counted"), [("wall", time.monotonic), ("processor", time.process_time)])
def test_the_minutes_are_those_of_the_chosen_clock(
    make: Make, monkeypatch: pytest.MonkeyPatch, clock: str, counted: Any
) -> None:
    seen: list[Any] = []

    def budget(minutes: float, warmup: float, clock: Any) -> TimeBudget:
        seen.append(clock)
        return TimeBudget(minutes, warmup, clock)

    monkeypatch.setattr(finetuning, "TimeBudget", budget)
    finetune(make("bundle", max_minutes=1.0, epochs=1, clock=clock))
    assert seen == [counted]


@pytest.mark.usefixtures("ticking")
def test_the_learning_rate_of_a_time_budget_ends_at_nothing(watched: Watched, make: Make) -> None:
    finetune(make("bundle", max_minutes=12 / 60, epochs=50))
    rates = {entry["step"]: entry["learning_rate"] for entry in watched.log() if "loss" in entry}
    assert watched.trainers[-1].state.global_step == 12
    assert rates[12] == pytest.approx(1e-3 * (1 - 10 / 12) / 0.9)  # set while the step before it was under way
    assert rates[12] < rates[9] < rates[6]


@pytest.mark.parametrize("task", ["classification", "causal-lm"])
def test_a_step_is_the_same_in_parts(make: Make, models: dict[str, Path], tmp_path: Path, task: Any) -> None:
    # Without dropout; 24 rows, of which a step of 10 leaves 4 over; answers of unlike lengths.
    model = save_tiny(tmp_path / "model", task, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    at_once = finetune(replace(make("whole", task=task, batch_size=10), model=model))
    in_parts = finetune(replace(make("parts", task=task, batch_size=5, accumulate=2), model=model))
    assert read_manifest(in_parts)["training"]["steps"] == 9
    assert_close(at_once, in_parts, 2e-5)


def test_bf16_computes_otherwise_and_keeps_float32(make: Make) -> None:
    plain, mixed = finetune(make("plain")), finetune(make("mixed", precision="bf16"))
    assert not same(plain, mixed)
    assert all(weight.dtype == torch.float32 for weight in load_file(mixed / "model.safetensors").values())
    assert_close(plain, mixed, 0.05)
    handle = load(mixed).handle
    assert handle.settings == handle.neutral()


@pytest.mark.parametrize("writer", ["optimizer", "state"])
def test_a_disk_that_fills_during_a_checkpoint_leaves_the_last_one(
    make: Make, monkeypatch: pytest.MonkeyPatch, writer: str
) -> None:
    whole, count = finetune(make("whole")), itertools.count(1)
    full = OSError(errno.ENOSPC, "No space left on device")
    save, write = torch.save, TrainerState.save_to_json

    def save_or_fail(value: Any, path: Any, *args: Any, **kwargs: Any) -> None:
        if str(path).endswith("optimizer.pt") and next(count) == 4:
            Path(path).write_bytes(b"half of it")
            raise full
        save(value, path, *args, **kwargs)

    def write_or_fail(self: TrainerState, path: str) -> None:
        if next(count) == 4:
            Path(path).write_text('{"global_step": 4, "log_hi')
            raise full
        write(self, path)

    with monkeypatch.context() as patch:
        if writer == "optimizer":
            patch.setattr(torch, "save", save_or_fail)
        else:
            patch.setattr(TrainerState, "save_to_json", write_or_fail)
        with pytest.raises(TrainingError, match="free disk space.*continue with --resume"):
            finetune(make("full"))
    folder = make("full").out / ".checkpoints"
    assert (folder / "checkpoint-4" / "model.safetensors").exists()
    assert checkpoints.last_checkpoint(folder).name == "checkpoint-3"
    assert not (folder / "checkpoint-4").exists()
    assert same(whole, finetune(make("full", resume=True)))


def test_a_checkpoint_of_other_settings_is_refused(watched: Watched, make: Make, models: dict[str, Path]) -> None:
    watched.kill_after = 3
    with pytest.raises(Killed):
        finetune(make("bundle"))
    changes: list[dict[str, Any]] = [
        {"accumulate": 2},
        {"precision": "bf16"},
        {"patience": 3},
        {"evaluate_steps": 5},
        {"max_minutes": 1.0},
        {"recipe": Uniform(0.5)},
    ]
    for change in changes:
        with pytest.raises(ValueError, match=f"settings it began with. Given: {next(iter(change))} was"):
            finetune(make("bundle", **change, resume=True))
    with pytest.raises(ValueError, match="model was"):
        finetune(replace(make("bundle", resume=True), model=models["causal-lm"]))
    watched.kill_after = -1
    assert finetune(make("bundle", save_minutes=5.0, resume=True))
