"""Looking at the validation split after every epoch or every so many steps, at several keep rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, final

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rheostat.techniques import Handle
from rheostat.train.callbacks import at_epoch_end
from rheostat.train.checkpoints import BEST
from rheostat.train.examples import Collator, Examples
from rheostat.train.losses import Loss
from rheostat.train.progress import ShowProgress
from rheostat.train.together import is_main

__all__ = ["Validator", "glance", "history_of", "score_of", "validate"]

RATES: Final = (1.0, 0.5)
MOST_ROWS: Final = 500
MOST_CHUNKS: Final = 64
GLANCE: Final = 100
"""Rows that are looked at where nothing is chosen by them: on small data, validation took longer than training."""
_ENTRY: Final = "validation"


def glance(examples: Examples) -> Examples:
    """Return at most `GLANCE` rows, evenly spread."""
    every = -(-len(examples.rows) // GLANCE)
    return replace(examples, rows=examples.rows[:: max(every, 1)])


def validate(
    model: Any,
    handle: Handle,
    examples: Examples,
    loss: Loss,
    collator: Collator,
    rates: Sequence[float] = RATES,
) -> dict[str, dict[str, float]]:
    """Return loss and accuracy on a split at several keep rates.

    Args:
        model: The model that is trained, with or without adapters; put into evaluation mode, and back.
        handle: Its handle.
        examples: The rows; the first `MOST_ROWS`, or `MOST_CHUNKS` for causal-lm.
        loss: What is learnt from.
        collator: Makes batches.
        rates: Keep rates in (0, 1].

    Returns:
        For each keep rate (as text, such as ``"0.5"``) ``loss`` (in nats) and ``accuracy`` (0 to 1).
    """
    most, size = (MOST_ROWS, 16) if "label" in examples.rows[0] else (MOST_CHUNKS, 4)
    rows = sorted(examples.rows[:most], key=lambda row: -len(row["input_ids"]))
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    was_training = model.training
    model.eval()
    try:
        return {f"{rate:g}": _at(model, handle, loss, map(collator, batches), rate) for rate in rates}
    finally:
        model.train(was_training)


def _at(model: Any, handle: Handle, loss: Loss, batches: Any, rate: float) -> dict[str, float]:
    total = correct = count = 0.0
    device = next(model.parameters()).device
    with torch.no_grad(), handle.at(protect=None, tokens=rate):
        for batch in batches:
            value = loss(model, {name: tensor.to(device) for name, tensor in batch.items()})
            total += float(value.mean * value.count)
            correct, count = correct + float(value.correct), count + float(value.count)
    return {"loss": total / max(count, 1.0), "accuracy": correct / max(count, 1.0)}


def history_of(state: TrainerState) -> list[dict[str, Any]]:
    """Return what was seen on validation: one entry a look, with ``epoch``, ``step`` and the result of `validate`."""
    entries: list[dict[str, Any]] = [*state.log_history]
    return [{"epoch": entry["epoch"], "step": entry["step"], **entry[_ENTRY]} for entry in entries if _ENTRY in entry]


def score_of(entry: Mapping[str, Any], task: str) -> float:
    """Return how good a look was: mean over keep rates of accuracy, or of minus the loss for causal-lm."""
    results = [result for name, result in entry.items() if name not in ("epoch", "step")]
    values = [result["accuracy"] if task == "classification" else -result["loss"] for result in results]
    return float(sum(values) / len(values))


@final
class Validator(TrainerCallback):
    """Validates now and then; keeps what it saw in the Trainer's state, and the best weights if wanted.

    That is after every epoch, or every so many steps and at the end. Where several processes train, each of them
    looks, at the same, so that all decide alike.

    Args:
        run: What `validate` takes, from ``handle`` to ``collator``.
        task: What the model is for.
        folder: Where the best weights are kept.
        progress: Where results are shown.
        keep_best: Whether to keep the best weights.
        every: After so many steps; None for every epoch.
    """

    def __init__(
        self,
        run: tuple[Handle, Examples, Loss, Collator],
        *,
        task: str,
        folder: Path,
        progress: ShowProgress,
        keep_best: bool,
        every: int | None = None,
    ) -> None:
        self._run, self._task, self._folder = run, task, folder
        self._progress, self._keep_best, self._every = progress, keep_best, every

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Validate, if it is time, or if this step is the last and ends no epoch."""
        last = state.global_step >= state.max_steps
        by_steps = self._every is not None and (last or state.global_step % self._every == 0)
        if by_steps or (self._every is None and last and not at_epoch_end(state)):
            self._look(state, kwargs["model"])

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Validate, unless the epoch was broken off."""
        if self._every is None and at_epoch_end(state):
            self._look(state, kwargs["model"])

    def _look(self, state: TrainerState, model: Any) -> None:
        result = validate(model, *self._run)
        earlier = [score_of(entry, self._task) for entry in history_of(state)]
        history: list[Any] = state.log_history
        epoch = round(state.epoch or 0) if at_epoch_end(state) else round(state.epoch or 0, 2)
        history.append({"epoch": epoch, "step": state.global_step, _ENTRY: result})
        shown = ", ".join(f"{_shown(values, self._task)} at {rate}" for rate, values in result.items())
        self._progress.say(f"epoch {epoch}: validation {shown}")
        better = score_of(history_of(state)[-1], self._task) > max(earlier, default=-torch.inf)
        if self._keep_best and better and is_main():
            _save_weights(model, self._folder / BEST)

    def best_epoch(self, state: TrainerState) -> float:
        """Return the number of the epoch that was best, from 1; the first of equals."""
        history = history_of(state)
        return float(max(history, key=lambda entry: score_of(entry, self._task))["epoch"])

    def restore_best(self, model: Any) -> None:
        """Put the best weights into the model."""
        model.load_state_dict(load_file(self._folder / BEST), strict=False)


def _save_weights(model: Any, path: Path) -> None:
    # Tied weights come once in named_parameters; of a model with adapters, only these are trained.
    trained = {name: value.detach().contiguous() for name, value in model.named_parameters() if value.requires_grad}
    temporary = path.with_suffix(".new")
    save_file(trained, temporary)
    temporary.replace(path)


def _shown(values: Mapping[str, float], task: str) -> str:
    return f"accuracy {values['accuracy']:.4f}" if task == "classification" else f"loss {values['loss']:.3f}"
