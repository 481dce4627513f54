"""What happens between the steps of the Trainer: keep rates, checkpoints, interrupts, checks."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rheostat.core.errors import TrainingError
from rheostat.techniques import Handle
from rheostat.train.together import from_main

__all__ = ["FiniteGradients", "Interrupt", "RandomKeep", "SaveNowAndThen", "at_epoch_end", "keep_rate"]


def keep_rate(seed: int, step: int, low: float, high: float) -> float:
    """Return the keep rate of an optimisation step: uniform in [low, high], fixed by seed and step.

    It depends on nothing else, so a continued run draws what the uninterrupted one would have drawn.

    Example:
        >>> keep_rate(0, 7, 0.02, 1.0) == keep_rate(0, 7, 0.02, 1.0)
        True
    """
    return random.Random(f"rheostat keep rate {seed} {step}").uniform(low, high)


def at_epoch_end(state: TrainerState) -> bool:
    """Say whether a whole number of epochs is done; the Trainer also ends epochs that it breaks off."""
    return state.epoch is not None and abs(state.epoch - round(state.epoch)) < 1e-6 and state.epoch > 0


@final
class RandomKeep(TrainerCallback):
    """Draws a keep rate at every optimisation step, and sets the dial to it.

    Source: https://arxiv.org/abs/2509.01190, section 3.

    Args:
        handle: The handle of the model.
        seed: The seed of the run.
        low: Lower end of the keep rates, in (0, 1].
        high: Upper end, in (0, 1].
    """

    def __init__(self, handle: Handle, seed: int, low: float, high: float) -> None:
        self._handle, self._seed, self._low, self._high = handle, seed, low, high

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Turn the dial for the step that begins."""
        self._handle.set(tokens=keep_rate(self._seed, state.global_step, self._low, self._high))

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Turn the dial back, for whatever looks at the model between epochs."""
        self._handle.set(**self._handle.technique.neutral())

    on_train_end = on_epoch_end


@final
class SaveNowAndThen(TrainerCallback):
    """Asks for a checkpoint after every epoch, and every so many minutes.

    Args:
        minutes: Minutes between two checkpoints.
    """

    def __init__(self, minutes: float) -> None:
        self._seconds, self._saved = minutes * 60, time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for a checkpoint when it is time."""
        if from_main(time.monotonic() - self._saved) >= self._seconds:
            control.should_save = True

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Ask for a checkpoint."""
        control.should_save = control.should_save or at_epoch_end(state)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Start the clock again."""
        self._saved = time.monotonic()


@final
class FiniteGradients(TrainerCallback):
    """Stops before a step that would make the weights NaN or infinite: no bad checkpoint is ever written."""

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Check the gradients.

        Raises:
            TrainingError: If one of them is NaN or infinite.
        """
        gradients = [weight.grad for weight in kwargs["model"].parameters() if weight.grad is not None]
        # Gradients were clipped by their common norm: a NaN or an infinity in one shows in the sum of all.
        if not torch.isfinite(torch.stack([gradient.sum() for gradient in gradients]).sum()):
            raise not_finite("a gradient is NaN or infinite", state.global_step)


def not_finite(what: str, step: int) -> TrainingError:
    """Return the error for a run that has left the numbers."""
    return TrainingError(
        "Training goes on while losses and gradients are finite; this step was not taken.",
        given=f"{what} in step {step + 1}",
        mend="Look for unusual rows in the data, or lower learning_rate and start again.",
    )


@final
class Interrupt(TrainerCallback):
    """Ends training in an orderly way at Ctrl-C: the step is finished, and a checkpoint is written.

    A second Ctrl-C stops at once.

    Attributes:
        pressed: Whether Ctrl-C was pressed.
    """

    def __init__(self) -> None:
        self.pressed = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take over Ctrl-C while the context is open; elsewhere than in the main thread nothing changes."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._press)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Save and stop if Ctrl-C was pressed."""
        self.pressed = from_main(self.pressed)
        if self.pressed:
            control.should_save = control.should_training_stop = True

    def _press(self, number: int, frame: object) -> None:
        if self.pressed:
            raise KeyboardInterrupt
        self.pressed = True
