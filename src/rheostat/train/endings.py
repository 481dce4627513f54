"""What ends a training before its last epoch, in an orderly way: no progress, or no time left."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, final

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rheostat.train.ledger import Remembering
from rheostat.train.settings import FinetuneSettings
from rheostat.train.together import from_main
from rheostat.train.validation import history_of, score_of

__all__ = ["AlreadyEndedError", "Patience", "TimeBudget", "ended_by"]


class AlreadyEndedError(Exception):
    """The checkpoint that a run was to go on from is its last one."""


def ended_by(state: TrainerState, settings: FinetuneSettings) -> str | None:
    """Say what ended a run before the last of its epochs; None where nothing did."""
    if state.epoch is None or state.epoch >= settings.epochs - 1e-6:
        return None
    if settings.patience is not None and Patience(settings.patience, settings.task).lost(state):
        return f"patience: {settings.patience} looks at validation without a better one"
    return f"max_minutes: {state.global_step} steps took {settings.max_minutes:g} minutes"


@final
class Patience(TrainerCallback):
    """Ends training after some looks at the validation split without a better one; it comes behind the validator.

    Args:
        looks: So many in a row, at least 1.
        task: What the model is for, which says what is better.
    """

    def __init__(self, looks: int, task: str) -> None:
        self._looks, self._task = looks, task

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Refuse to go on from where the run has ended.

        Raises:
            AlreadyEndedError: If it has.
        """
        if self.lost(state):
            raise AlreadyEndedError

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """End training and ask for a checkpoint, if there was no progress."""
        if self.lost(state):
            control.should_save = control.should_training_stop = True

    on_epoch_end = on_step_end

    def lost(self, state: TrainerState) -> bool:
        """Say whether there was no progress for so long."""
        scores = [score_of(entry, self._task) for entry in history_of(state)]
        return bool(scores) and len(scores) - 1 - scores.index(max(scores)) >= self._looks


@final
class TimeBudget(Remembering):
    """Fits a run into a time: the learning rate rises and falls by the time used, and the run ends when it is used up.

    Steps of a dial drawn at random differ in length several times over, so that a number of steps planned beforehand
    would be wrong, and with it the learning rate. Only the steps' own time counts: not that of validation and of
    writing checkpoints. A resumed run goes on with the time of its checkpoint; it does what the interrupted run would
    have done as far as its steps take the same time.

    Args:
        minutes: The time, above 0.
        warmup: Share of the time in which the learning rate rises.
        clock: Returns seconds.
    """

    def __init__(self, minutes: float, warmup: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._budget, self._warmup, self._clock = minutes * 60, warmup, clock
        self._began, self._most = 0.0, 0
        self.memory = self.fresh()

    def fresh(self) -> dict[str, Any]:
        """Return the memory of a run without steps."""
        return {"seconds": 0.0}

    def share_of_rate(self, step: int, most: int) -> float:
        """Return the learning rate of a step as a share of the highest: linearly up, then linearly down to 0.

        Args:
            step: The step, from 0.
            most: How many steps the epochs have, which are the most that there can be.
        """
        used: float = min(1.0, max(self.memory["seconds"] / self._budget, step / most))
        return used / self._warmup if used < self._warmup else (1.0 - used) / (1.0 - self._warmup)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take up the time of the checkpoint.

        Raises:
            AlreadyEndedError: If there is nothing left to do.
        """
        self.recall(state)
        self._most = state.max_steps
        if self._over(state.global_step):
            raise AlreadyEndedError

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self._began = self._clock()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop the clock; say how many steps there may be, and end training and ask for a checkpoint where it is over.

        The last step is the one that ends nearest to the time, by the mean of the steps so far.
        """
        step = state.global_step
        self.memory["seconds"] = from_main(self.memory["seconds"] + self._clock() - self._began)
        state.max_steps = min(self._most, max(step, round(step * self._budget / max(self.memory["seconds"], 1e-9))))
        if self._over(step):
            state.max_steps = step
            control.should_save = control.should_training_stop = True

    def _over(self, step: int) -> bool:
        seconds = self.memory["seconds"]
        return step >= self._most or (step > 0 and seconds + seconds / step / 2 > self._budget)
