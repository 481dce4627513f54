"""What every way of choosing the trained weights has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

__all__ = ["Losses", "Prepared"]

Losses = Callable[[], Iterator[torch.Tensor]]
"""Runs the model on some batches of training data, and yields the loss of each: a scalar with a graph."""


class Prepared(ABC):
    """A model that is ready to be trained. Made by `rheostat.train.adapters.prepare`.

    Attributes:
        model: What is trained: the model itself, or a wrapper around it.
        note: A sentence for the model card; None where every weight is trained.
    """

    model: Any
    note: str | None = None

    def save(self, folder: Path) -> bool:
        """Write what was trained as an adapter into a folder, before it is merged; say whether there was one."""
        return False

    @abstractmethod
    def merge(self) -> None:
        """Leave the plain model, in place, with what was trained in its weights. Called once, after training."""
