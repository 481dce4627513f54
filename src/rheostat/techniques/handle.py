"""The handle: what turns the dials of a model, and looks at what they did."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from rheostat.core.dial import Dial, checked_settings
from rheostat.core.errors import RheostatError, SettingError
from rheostat.models.families import Family
from rheostat.models.flow import Cut, Flow
from rheostat.models.wear import Director, Worn, wear
from rheostat.techniques.contract import Technique
from rheostat.techniques.registry import make_technique

__all__ = ["Handle", "attach"]


@dataclass(frozen=True, slots=True)
class _Override:
    """What `Handle.at` sets in one context."""

    settings: dict[str, float]
    marked: torch.Tensor | None


class Handle:
    """Turns the dials of one model. Made by `attach`.

    Settings made by `set` hold everywhere; those made by `at` hold in the context that made them only, so threads and
    asyncio tasks do not disturb each other.

    Args:
        model: The model, which stays an ordinary Transformers model.
        technique: The technique it wears.
    """

    def __init__(self, model: nn.Module, technique: Technique) -> None:
        self.model, self.technique = model, technique
        self._settings = technique.neutral()
        self._override: ContextVar[_Override | None] = ContextVar("rheostat_override", default=None)
        self._last: _LastFlow = _LastFlow()
        self._worn: Worn | None = wear(model, _HandleDirector(self))

    def __repr__(self) -> str:
        state = "detached" if self._worn is None else ", ".join(f"{k}={v:g}" for k, v in self.settings.items())
        return f"Handle({type(self.model).__name__}, {self.technique!r}, {state})"

    @property
    def dials(self) -> tuple[Dial, ...]:
        """The dials that can be turned."""
        return self.technique.dials

    @property
    def family(self) -> Family:
        """The model's family.

        Raises:
            RheostatError: If the handle was detached.
        """
        return self._attached().located.family

    @property
    def settings(self) -> dict[str, float]:
        """The settings in force in this context."""
        override = self._override.get()
        return dict(self._settings if override is None else {**self._settings, **override.settings})

    def set(self, **dials: float) -> None:
        """Turn dials, for every context that does not override them.

        Raises:
            SettingError: If a dial is unknown or a value out of range; nothing changes then.
        """
        self._attached()
        self._settings = {**self._settings, **checked_settings(self.dials, dials)}

    @contextmanager
    def at(self, *, protect: torch.Tensor | None = None, **dials: float) -> Iterator[Handle]:
        """Turn dials in this context only, and turn them back at its end, also after an error.

        Args:
            protect: Positions that are never dropped, bool ``[batch, length]`` over the columns of the forward inside.
            dials: A value for each dial to turn.

        Raises:
            SettingError: If a dial is unknown or a value out of range.
        """
        self._attached()
        outer = self._override.get() or _Override({}, None)
        inner = {**outer.settings, **checked_settings(self.dials, dials)}
        token = self._override.set(_Override(inner, _checked_mask(protect) if protect is not None else outer.marked))
        try:
            yield self
        finally:
            self._override.reset(token)

    def survivors(self) -> list[list[list[int]]]:
        """Return who survived the last forward of this context (or, where it ran none, of any).

        Returns:
            For each block, for each row of the batch, the sorted original positions that went on: columns of the
            input, padding included in the count, cached tokens first.

        Raises:
            RheostatError: If no forward has run, or the last one was the plain model's, which drops nothing.
        """
        flow = self._last.get()
        if flow is None:
            raise RheostatError(
                "Survivors are known after a forward under pruning.",
                given="no such forward, or the last one ran at the neutral setting",
                mend="Run the model with a dial below neutral, for instance inside handle.at(tokens=0.5).",
            )
        return flow.survivors()

    def detach(self) -> None:
        """Take the technique off: the very same model again. Detaching twice does nothing."""
        if self._worn is not None:
            self._worn.take_off()
            self._worn = None

    def _attached(self) -> Worn:
        if self._worn is None:
            raise RheostatError("A detached handle turns nothing.", mend="Attach the technique again.")
        return self._worn

    def _cut(self) -> Cut | None:
        settings = self.settings
        # A copy of the model, made while it was attached, still asks this handle after it was detached.
        if self._worn is None or settings == self.technique.neutral():
            return None
        override = self._override.get()
        return self._make_cut(settings, None if override is None else override.marked)

    def _make_cut(self, settings: dict[str, float], marked: torch.Tensor | None) -> Cut:
        decoder = self._attached().located.family.kind == "decoder"
        return self.technique.cut(settings, decoder=decoder, marked=marked)


class _HandleDirector(Director):
    """Lets a worn model ask its handle."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def cut(self) -> Cut | None:
        return self._handle._cut()

    def plain_cut(self) -> Cut:
        return self._handle._make_cut(self._handle.technique.neutral(), None)

    def ran(self, flow: Flow | None) -> None:
        self._handle._last.set(flow)


class _LastFlow:
    """The last forward, by context where one is known, else the last one anywhere."""

    def __init__(self) -> None:
        self._here: ContextVar[tuple[Flow | None] | None] = ContextVar("rheostat_last", default=None)
        self._anywhere: Flow | None = None

    def set(self, flow: Flow | None) -> None:
        self._here.set((flow,))
        self._anywhere = flow

    def get(self) -> Flow | None:
        here = self._here.get()
        return self._anywhere if here is None else here[0]


def attach(model: nn.Module, technique: str | Technique = "tokens") -> Handle:
    """Put a technique on a model, in place, and return the handle that turns its dials.

    Args:
        model: A Transformers model of a supported family, with any head, PEFT adapters or low-precision weights.
        technique: A technique, or the name of one for its defaults.

    Returns:
        The handle; at first every dial is at neutral, where the model is the plain one, bit for bit.

    Raises:
        UnsupportedModelError: If the family or its set-up is not supported; with the reason and the list.
        SettingError: If nobody knows the technique, or the model wears one already.

    Example:
        >>> handle = attach(model, "tokens")  # doctest: +SKIP
        >>> handle.set(tokens=0.8)  # doctest: +SKIP
    """
    return Handle(model, make_technique(technique) if isinstance(technique, str) else technique)


def _checked_mask(mask: Any) -> torch.Tensor:
    if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool or mask.ndim != 2:
        given = f"{tuple(mask.shape)} of {mask.dtype}" if isinstance(mask, torch.Tensor) else type(mask).__name__
        raise SettingError(
            "protect is a bool tensor [batch, length].", given=given, mend="Mark what must stay with True."
        )
    return mask
