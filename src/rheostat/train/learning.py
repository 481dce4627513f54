"""One optimisation step of a recipe: its passes over a batch, and what each learns from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, final

import torch
from torch.nn.functional import kl_div, log_softmax

from rheostat.core.errors import SettingError
from rheostat.models.families import locate
from rheostat.techniques import Handle
from rheostat.techniques.depths import outputs_at_depths
from rheostat.train.losses import IGNORED, Batch, ContinuationLoss, Loss, LossValue
from rheostat.train.recipes import Moment, Pass, Recipe
from rheostat.train.together import processes

__all__ = ["Learner", "distillation"]


@final
class Learner:
    """Runs the passes of a recipe's steps.

    Args:
        recipe: What the steps are made of.
        loss: What is learnt from.
        handle: The handle of the model, whose dials it turns for each pass.

    Raises:
        SettingError: If the recipe contradicts the model or the loss.
    """

    def __init__(self, recipe: Recipe, loss: Loss, handle: Handle) -> None:
        self._recipe, self._loss, self._handle = recipe, loss, handle
        self.blocks = len(locate(handle.model).blocks)
        self._entry: float = getattr(handle.technique, "entry", 0.0)
        recipe.check(self.blocks)
        if isinstance(loss, ContinuationLoss) and any(one.depths for one in self.passes(0, 0, 1)):
            raise SettingError(
                "Sub-models of several depths learn in one forward, not through a key-value cache.",
                given=f"recipe '{recipe.name}' with loss_on='continuation'",
                mend="Use loss_on='survivors' or 'all'.",
            )
        if processes() > 1 and any(one.depths for one in self.passes(0, 0, 1)):
            raise SettingError(
                "Sub-models of several depths learn in one process.",
                given=f"recipe '{recipe.name}' in {processes()} processes",
                mend="Start one process, or use another recipe.",
            )
        self._remembered: LossValue | None = None

    def passes(self, seed: int, step: int, steps: int) -> tuple[Pass, ...]:
        """Return the passes of a step; see `Moment`."""
        return self._recipe.passes(Moment(seed, step, steps, self.blocks, self._entry))

    def step(self, seed: int, step: int, steps: int) -> Iterator[tuple[Pass, float]]:
        """Yield each pass of a step with its share of the step's gradient; what was remembered is forgotten after."""
        passes = self.passes(seed, step, steps)
        try:
            for one in passes:
                yield one, 1.0 / len(passes)
        finally:
            self._remembered = None

    def learn(self, model: Any, batch: Batch, one: Pass) -> torch.Tensor:
        """Return the loss of a pass over a batch, a scalar in nats."""
        with self._handle.at(protect=None, **one.settings):
            values = self._values(model, batch, one)
        if one.remember:
            self._remembered = values[-1]
        losses = [self._mixed(value, one.distil) for value in values]
        return losses[0] if len(losses) == 1 else torch.stack(losses).mean()

    def _values(self, model: Any, batch: Batch, one: Pass) -> list[LossValue]:
        if not one.depths:
            return [self._loss(model, batch)]
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        outputs = outputs_at_depths(self._handle, one.depths, **inputs)
        # A loss runs a model: here it has run already.
        return [self._loss(lambda output=output, **_: output, batch) for output in outputs.values()]

    def _mixed(self, value: LossValue, distil: float) -> torch.Tensor:
        if not distil or self._remembered is None:
            return value.mean
        soft = distillation(value, self._remembered)
        return soft if distil == 1.0 else distil * soft + (1.0 - distil) * value.mean


def distillation(student: LossValue, teacher: LossValue) -> torch.Tensor:
    """Return the Kullback-Leibler divergence of a student from a teacher, in nats, averaged over what is learnt from.

    In-place distillation (https://arxiv.org/abs/1903.05134): no gradient enters the teacher.

    Args:
        student: At all positions of the teacher, or at some of them.
        teacher: At all positions.
    """
    said = teacher.logits.detach()
    if student.speaking is not None:
        said = said[student.speaking]
    learnt = student.targets != IGNORED
    expected = log_softmax(said[learnt].float(), -1)
    total = kl_div(log_softmax(student.logits[learnt].float(), -1), expected, reduction="sum", log_target=True)
    return total / learnt.sum().clamp(min=1)
