"""Which weights are trained: all, low-rank or sparse adapters, the last blocks, or the head."""

from __future__ import annotations

from torch import nn

from rheostat.core.text import Task
from rheostat.train.adapters.freezing import WholeTraining
from rheostat.train.adapters.low_rank import LowRankTraining
from rheostat.train.adapters.prepared import Losses, Prepared
from rheostat.train.adapters.shira import SparseTraining
from rheostat.train.adapters.trainable import Trainable

__all__ = ["Losses", "Prepared", "SparseTraining", "Trainable", "prepare"]


def prepare(
    model: nn.Module,
    trainable: Trainable,
    task: Task,
    *,
    seed: int = 0,
    losses: Losses | None = None,
    origin: str = "",
) -> Prepared:
    """Make a model ready to be trained, so that exactly the wanted weights need a gradient.

    Args:
        model: A Transformers model, plain or worn; changed in place until `Prepared.merge`.
        trainable: Which weights are trained.
        task: What the model is for: a classifier's head is always trained as a whole.
        seed: Decides a random mask. Adapters of low rank begin with torch's own random numbers.
        losses: Runs training data, for masks that need gradients.
        origin: Where the weights came from, for an adapter's file.

    Raises:
        SettingError: If the settings contradict the model.
        UnsupportedModelError: If the model, or this machine, cannot do it.

    Example:
        >>> prepared = prepare(model, Trainable("shira", mask="weight"), "classification")  # doctest: +SKIP
        >>> train(prepared.model); prepared.merge()  # doctest: +SKIP
    """
    if trainable.is_lora:
        return LowRankTraining(model, trainable, task=task, origin=origin)
    if trainable.kind == "shira":
        return SparseTraining(model, trainable, train_head=task == "classification", seed=seed, losses=losses)
    return WholeTraining(model, trainable)
