"""The contract that every technique keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from rheostat.core.dial import Dial
from rheostat.core.exits import ExitRule
from rheostat.core.knob import Knob
from rheostat.core.space import Conflict, Exclusion
from rheostat.core.text import Task
from rheostat.models.families import Family
from rheostat.models.flow import Cut

__all__ = [
    "Adding",
    "Again",
    "Conversion",
    "Converted",
    "Cutting",
    "Leaving",
    "Rereading",
    "Restriction",
    "Shortening",
    "Target",
    "Technique",
]


Restriction = Exclusion | Conflict
"""A knob, dial or value that is not to be had, or values that do not go together; with the reason."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a configuration would run on.

    Attributes:
        family: The model's family.
        task: What the model does.
        device: The kind of device: ``cpu``, ``cuda``, ``mps``.
        words: Whether the model has a table of what words say about labels, or will have one.
    """

    family: Family
    task: Task
    device: str = "cpu"
    words: bool = True


class Technique(ABC):
    """One efficiency method: frozen settings, and dials that are turned at run time.

    Subclasses are final frozen dataclasses, one a file, of one of six kinds: `Cutting`, `Shortening`, `Leaving`,
    `Rereading`, `Adding` or `Conversion`.

    Attributes:
        name: What users call it.
        stage: When it acts.
        summary: One line for tables.
        dials: What can be turned at run time; a range that depends on the model is bound by the handle.
        knobs: The settings that are chosen before it is put on; each has a field of the same name.
        learnt_with: The dial that training must have turned for most models to be any good with this one; empty where
            it need not.
        acts_with: The dial of another technique at whose neutral this one does nothing; empty where it acts alone.
    """

    name: ClassVar[str]
    stage: ClassVar[Literal["architecture", "finetuning", "inference"]]
    summary: ClassVar[str]
    dials: ClassVar[tuple[Dial, ...]] = ()
    knobs: ClassVar[tuple[Knob, ...]] = ()
    learnt_with: ClassVar[str] = ""
    acts_with: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Refuse a setting outside the domain of its knob."""
        for knob in self.knobs:
            knob.check(getattr(self, knob.name))

    def neutral(self) -> dict[str, float]:
        """Return the settings at which the model is the plain one; a dial that depends on the model is left out.

        A handle knows the model: see `rheostat.techniques.handle.Handle.neutral`.
        """
        return {dial.name: dial.neutral for dial in self.dials if dial.is_bound}

    @classmethod
    def restrictions(cls, target: Target) -> tuple[Restriction, ...]:
        """Return what of it cannot be had on a model and on this machine, or means nothing there, each with a reason.

        A search leaves that out of its space. By default everything can be had.

        Args:
            target: What it would run on.
        """
        return ()

    def to_json(self) -> dict[str, Any]:
        """Return the technique's name and settings as plain data."""
        return {"name": self.name, **asdict(self)}  # type: ignore[call-overload]


class Cutting(Technique):
    """A technique that drops hidden states between attention and feed-forward; a model wears at most one."""

    @abstractmethod
    def cut(self, settings: Mapping[str, float], *, decoder: bool, marked: torch.Tensor | None = None) -> Cut:
        """Return what a forward at these dial settings drops.

        Args:
            settings: A value for each dial, in range.
            decoder: Whether the model's attention is causal.
            marked: Positions the caller protects, bool ``[batch, length]``.
        """


class Shortening(Technique):
    """A technique that leaves out the last blocks of a forward; a model wears at most one.

    The final norm and the head read what left the last block that ran.
    """

    learnt_with: ClassVar[str] = "depth"

    @abstractmethod
    def depth(self, settings: Mapping[str, float]) -> int:
        """Return how many blocks a forward at these dial settings runs, from the first on.

        Args:
            settings: A value for each dial, in range.
        """


class Leaving(Technique):
    """A technique that lets each row of a classifier's batch leave the model early; a model wears at most one.

    It is about whole answers of a model with a classification head, without gradients.
    """

    learnt_with: ClassVar[str] = "depth"

    @abstractmethod
    def rule(self, settings: Mapping[str, float], blocks: int) -> ExitRule | None:
        """Return when rows leave a forward at these dial settings; None where it has no exit.

        Args:
            settings: A value for each dial, in range.
            blocks: How many blocks run for a row that never leaves.
        """


@dataclass(frozen=True, slots=True)
class Again:
    """Which rows are read a second time, and how.

    Attributes:
        below: Those whose highest probability in the first reading is below this.
        settings: The dials that are turned for it; the others stay as they are.
    """

    below: float
    settings: Mapping[str, float]


class Rereading(Technique):
    """A technique that reads some rows of a classifier's batch a second time; a model wears at most one.

    The first reading runs with the technique's own dials at neutral. It is about whole answers of a model with a
    classification head, without gradients.
    """

    @abstractmethod
    def again(self, settings: Mapping[str, float]) -> Again | None:
        """Return which rows of a forward at these dial settings are read again; None where none is.

        Args:
            settings: A value for every dial that the model wears, in range.
        """


class Adding(Technique):
    """A technique that adds to the logits of a classifier; a model wears at most one.

    It is about whole answers of a model with a classification head. What it adds depends on a row's own input alone,
    whatever else the model wears. Rows leave by, and are read again for, the sum.
    """

    @abstractmethod
    def added(self, settings: Mapping[str, float], model: nn.Module, inputs: Mapping[str, Any]) -> torch.Tensor:
        """Return what a forward at these dial settings adds, float ``[rows, classes]``.

        Args:
            settings: A value for each dial, in range.
            model: The model.
            inputs: What the model takes, by name.
        """


class Conversion(Technique):
    """A technique that changes the modules of a model when it is put on, for instance to a lower precision.

    With every knob at neutral it changes nothing. Elsewhere the model is not the plain one bit for bit, so that a
    conversion states how far off it may be.
    """

    @property
    @abstractmethod
    def error_bound(self) -> float:
        """Largest relative error it states: ‖other output - plain output‖ / ‖plain output‖ over the real positions.

        It holds for the tiny models of `rheostat.testing`, and the conformance suite checks it there. Errors add up
        over depth and depend on the weights: what a real model loses is measured, not stated.
        """

    @abstractmethod
    def convert(self, model: nn.Module) -> Converted:
        """Change the modules of a model, in place; leave it as it was where that fails.

        Raises:
            SettingError: If the model was converted before, or cannot be.
        """


class Converted(ABC):
    """What a conversion did to one model."""

    @abstractmethod
    def take_off(self) -> None:
        """Put the very same modules, parameters and buffers back; only called while the originals are kept."""

    @abstractmethod
    def free(self) -> None:
        """Let go of the originals, where that was asked for: called once, after everything was put on."""

    @abstractmethod
    def check_kept(self) -> None:
        """Make sure that it can be taken off.

        Raises:
            RheostatError: If the originals were freed.
        """

    @abstractmethod
    def report(self) -> dict[str, Any]:
        """Return what was done and what was measured for it, as plain data for JSON."""
