"""The contract that every technique keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar, Literal

import torch

from rheostat.core.dial import Dial
from rheostat.models.flow import Cut

__all__ = ["Technique"]


class Technique(ABC):
    """One efficiency method: frozen settings, and dials that are turned at run time.

    Subclasses are final frozen dataclasses, one a file; see CONTRIBUTING.

    Attributes:
        name: What users call it.
        stage: When it acts.
        summary: One line for tables.
        dials: The knobs that can be turned at run time.
    """

    name: ClassVar[str]
    stage: ClassVar[Literal["architecture", "finetuning", "inference"]]
    summary: ClassVar[str]
    dials: ClassVar[tuple[Dial, ...]]

    @abstractmethod
    def cut(self, settings: Mapping[str, float], *, decoder: bool, marked: torch.Tensor | None = None) -> Cut:
        """Return what a forward at these dial settings drops.

        Args:
            settings: A value for each dial, in range.
            decoder: Whether the model's attention is causal.
            marked: Positions the caller protects, bool ``[batch, length]``.
        """

    def neutral(self) -> dict[str, float]:
        """Return the settings at which the model is the plain one."""
        return {dial.name: dial.neutral for dial in self.dials}

    def to_json(self) -> dict[str, Any]:
        """Return the technique's name and settings as plain data."""
        return {"name": self.name, **asdict(self)}  # type: ignore[call-overload]
