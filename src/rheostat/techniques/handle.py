"""The handle: what turns the dials of a model, and looks at what they did."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from rheostat.core.dial import Dial, checked_settings
from rheostat.core.errors import RheostatError, SettingError
from rheostat.core.exits import ExitRule
from rheostat.models.families import Family, locate
from rheostat.models.flow import Flow
from rheostat.models.segment import Everything, Ran
from rheostat.models.wear import Director, Order, Worn, wear
from rheostat.techniques.answering import AnsweringModel
from rheostat.techniques.contract import (
    Adding,
    Again,
    Conversion,
    Converted,
    Cutting,
    Leaving,
    Rereading,
    Shortening,
    Technique,
)
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
        techniques: The techniques it wears: conversions in the order in which they go on, at most one that cuts,
            one that shortens, one that lets rows leave, one that reads rows again and one that adds to logits.

    Attributes:
        model: The model.
        techniques: All that it wears, conversions first.
        technique: The first of them with dials, in the order above; else the first conversion.
        dials: The dials of all of them, their ranges bound to the model; none where it wears conversions only.
    """

    def __init__(self, model: nn.Module, *techniques: Technique) -> None:
        worn = _sorted(techniques)
        conversions, self._cutting, self._shortening, self._leaving, self._rereading, self._adding = worn
        self.model = model
        turned = [each for each in worn[1:] if each is not None]
        self.techniques: tuple[Technique, ...] = (*conversions, *turned)
        self.technique: Technique = turned[0] if turned else self.techniques[0]
        self.dials: tuple[Dial, ...] = _bound(model, turned)
        self._settings = self.neutral()
        self._override: ContextVar[_Override | None] = ContextVar("rheostat_override", default=None)
        self._last: _LastFlow = _LastFlow()
        self._worn: Worn | None = None
        self._answering: AnsweringModel | None = None
        self._converted: list[Converted] = []
        self._on = True
        self._put_on(conversions)

    def __repr__(self) -> str:
        worn = ", ".join(repr(technique) for technique in self.techniques)
        settings = "".join(f", {name}={value:g}" for name, value in self.settings.items())
        return f"Handle({type(self.model).__name__}, {worn}{settings if self._on else ', detached'})"

    @property
    def family(self) -> Family:
        """The model's family.

        Raises:
            RheostatError: If the handle was detached.
            UnsupportedModelError: If the model wears conversions only, and its family is not known.
        """
        self._check_on()
        return locate(self.model).family if self._worn is None else self._worn.located.family

    @property
    def settings(self) -> dict[str, float]:
        """The settings in force in this context."""
        override = self._override.get()
        return dict(self._settings if override is None else {**self._settings, **override.settings})

    @property
    def protected(self) -> torch.Tensor | None:
        """The positions that `at` protects in this context, bool ``[batch, length]``; None where it protects none."""
        override = self._override.get()
        return None if override is None else override.marked

    def neutral(self) -> dict[str, float]:
        """Return the settings of every dial at which the model is the plain one."""
        return {dial.name: dial.neutral for dial in self.dials}

    def set(self, **dials: float) -> None:
        """Turn dials, for every context that does not override them.

        Raises:
            SettingError: If a dial is unknown or a value out of range; nothing changes then.
        """
        self._check_on()
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
        self._check_on()
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
            For each block that ran, for each row of the batch, the sorted original positions that went on: columns of
            the input, padding included in the count, cached tokens first.

        Raises:
            RheostatError: If no forward has run, or the last one was the plain model's, which drops nothing.
        """
        return self.went_on.survivors()

    def entered(self) -> list[list[int]]:
        """Return, for each row of the last forward, the sorted positions that entered the first block.

        Raises:
            RheostatError: As for `survivors`.
        """
        return self.went_on.entered()

    @property
    def last(self) -> Ran | None:
        """What went on in the last forward; None where that was the plain model's, or none has run."""
        return self._last.get()

    @property
    def went_on(self) -> Ran:
        """What went on in the last forward, as `survivors` says it.

        Raises:
            RheostatError: If no forward has run, or the last one was the plain model's, which drops nothing.
        """
        ran = self.last
        if ran is None:
            raise RheostatError(
                "Survivors are known after a forward under pruning.",
                given="no such forward, or the last one ran at the neutral setting",
                mend="Run the model with a dial below neutral, for instance inside handle.at(tokens=0.5).",
            )
        return ran

    @went_on.setter
    def went_on(self, ran: Ran) -> None:
        self._last.set(ran)

    def exit_rule(self) -> tuple[ExitRule, int] | None:
        """Return when rows leave at the settings in force, and how many blocks the others run; None where none does."""
        asked = self._asked()
        if asked is None or self._leaving is None or not _turned(self._leaving, asked.settings, self.neutral()):
            return None
        blocks = len(locate(self.model).blocks)
        if self._shortening is not None and _turned(self._shortening, asked.settings, self.neutral()):
            blocks = self._shortening.depth(asked.settings)
        rule = self._leaving.rule(asked.settings, blocks)
        return None if rule is None else (rule, blocks)

    def again(self) -> Again | None:
        """Return which rows are read again at the settings in force, and how; None where none is."""
        asked = self._asked()
        if asked is None or self._rereading is None or not _turned(self._rereading, asked.settings, self.neutral()):
            return None
        return self._rereading.again(asked.settings)

    def once(self) -> dict[str, float]:
        """Return the settings, of the dials that read rows again, at which every row is read once."""
        return {} if self._rereading is None else {dial.name: dial.neutral for dial in self._rereading.dials}

    def adding(self) -> Callable[[Mapping[str, Any]], torch.Tensor] | None:
        """Return what gives what is added to logits, from inputs, at the settings in force; None where nothing is."""
        asked, adding = self._asked(), self._adding
        if asked is None or adding is None or not _turned(adding, asked.settings, self.neutral()):
            return None
        return lambda inputs: adding.added(asked.settings, self.model, inputs)

    def report(self) -> list[dict[str, Any]]:
        """Return, for each conversion in order, what it did to the model and what was measured for it.

        The entries are plain data for JSON; see the technique, for instance
        `rheostat.techniques.inference.precision.Precision`, for what they hold.
        """
        return [{**converted.report()} for converted in self._converted]

    def detach(self) -> None:
        """Take everything off, in reverse order: the very same model again. Detaching twice does nothing.

        Raises:
            RheostatError: If a conversion has freed the originals; everything stays on then.
        """
        if not self._on:
            return
        for converted in self._converted:
            converted.check_kept()
        self._take_off()

    def _put_on(self, conversions: tuple[Conversion, ...]) -> None:
        try:
            for conversion in conversions:
                self._converted.append(conversion.convert(self.model))
            if len(self.techniques) > len(conversions):
                self._worn = wear(self.model, _HandleDirector(self, self._cutting, self._shortening))
            if any(each is not None for each in (self._leaving, self._rereading, self._adding)):
                self._answering = AnsweringModel(self)
        except BaseException:
            self._take_off()
            raise
        # Only now: whatever fails before can still be undone.
        for converted in self._converted:
            converted.free()

    def _take_off(self) -> None:
        if self._answering is not None:
            self._answering.take_off()
            self._answering = None
        if self._worn is not None:
            self._worn.take_off()
            self._worn = None
        for converted in reversed(self._converted):
            converted.take_off()
        self._on = False

    def _check_on(self) -> None:
        if not self._on:
            raise RheostatError("A detached handle turns nothing.", mend="Attach the technique again.")

    def _asked(self) -> _Override | None:
        """Return what a forward in this context is to run at; None for the plain model."""
        settings = self.settings
        # A copy of the model, made while it was attached, still asks this handle after it was detached.
        if not self._on or settings == self.neutral():
            return None
        override = self._override.get()
        return _Override(settings, None if override is None else override.marked)


class _HandleDirector(Director):
    """Lets a worn model ask its handle."""

    def __init__(self, handle: Handle, cutting: Cutting | None, shortening: Shortening | None) -> None:
        self._handle, self._cutting, self._shortening = handle, cutting, shortening

    def order(self) -> Order | None:
        asked = self._handle._asked()
        if asked is None:
            return None
        neutral = self._handle.neutral()
        cut = depth = None
        if self._cutting is not None and _turned(self._cutting, asked.settings, neutral):
            decoder = self._handle.family.kind == "decoder"
            cut = self._cutting.cut(asked.settings, decoder=decoder, marked=asked.marked)
        if self._shortening is not None and _turned(self._shortening, asked.settings, neutral):
            depth = self._shortening.depth(asked.settings)
        return None if cut is None and depth is None else Order(cut, depth)

    def ran(self, what: Flow | Everything | None) -> None:
        self._handle._last.set(what)


def _turned(technique: Technique, settings: dict[str, float], neutral: dict[str, float]) -> bool:
    return any(settings[dial.name] != neutral[dial.name] for dial in technique.dials)


class _LastFlow:
    """The last forward, by context where one is known, else the last one anywhere."""

    def __init__(self) -> None:
        self._here: ContextVar[tuple[Ran | None] | None] = ContextVar("rheostat_last", default=None)
        self._anywhere: Ran | None = None

    def set(self, ran: Ran | None) -> None:
        self._here.set((ran,))
        self._anywhere = ran

    def get(self) -> Ran | None:
        here = self._here.get()
        return self._anywhere if here is None else here[0]


def attach(model: nn.Module, *techniques: str | Technique) -> Handle:
    """Put techniques on a model, in place, and return the handle that turns its dials.

    Conversions go on first, in the order given, then the techniques with dials, which work together. If one cannot be
    put on, none stays on.

    Args:
        model: A Transformers model of a supported family, with any head, PEFT adapters or low-precision weights.
        techniques: Techniques, or names of some for their defaults; ``"tokens"`` where none is given.

    Returns:
        The handle; at first every dial is at neutral, where the model is the plain one, bit for bit, unless it wears
        conversions.

    Raises:
        UnsupportedModelError: If the family or its set-up is not supported; with the reason and the list.
        SettingError: If nobody knows a technique, if two of them cut or shorten, or the model wears rheostat already.

    Example:
        >>> handle = attach(model, "tokens", "depth")  # doctest: +SKIP
        >>> handle.set(tokens=0.8, depth=5)  # doctest: +SKIP
    """
    made = [make_technique(each) if isinstance(each, str) else each for each in techniques or ("tokens",)]
    return Handle(model, *made)


_Worn = tuple[
    tuple[Conversion, ...], Cutting | None, Shortening | None, Leaving | None, Rereading | None, Adding | None
]


def _sorted(techniques: tuple[Technique, ...]) -> _Worn:
    names = [technique.name for technique in techniques]
    conversions = tuple(technique for technique in techniques if isinstance(technique, Conversion))
    turned = [
        [technique for technique in techniques if isinstance(technique, kind)]
        for kind in (Cutting, Shortening, Leaving, Rereading, Adding)
    ]
    if len(set(names)) < len(names) or max(len(kind) for kind in turned) > 1:
        raise SettingError(
            "A model wears each technique once, and at most one each that cuts, shortens, lets rows leave, reads rows "
            "again, and adds to logits.",
            given=", ".join(names),
            mend="Leave one of them out.",
        )
    if not techniques or len(conversions) + sum(len(kind) for kind in turned) < len(techniques):
        raise SettingError(
            "A technique that goes on a model is a subclass of Cutting, Shortening, Leaving, Rereading, Adding or "
            "Conversion.",
            given=", ".join(type(technique).__name__ for technique in techniques) or "none",
        )
    return conversions, *(next(iter(kind), None) for kind in turned)  # type: ignore[return-value]


def _bound(model: nn.Module, techniques: Iterable[Technique]) -> tuple[Dial, ...]:
    dials = [dial for technique in techniques for dial in technique.dials]
    names = [dial.name for dial in dials]
    if len(set(names)) < len(names):
        raise SettingError(
            "Dials that are turned together have different names.",
            given=", ".join(names),
            mend="Leave one of the techniques out.",
        )
    if all(dial.is_bound for dial in dials):
        return tuple(dials)
    blocks = len(locate(model).blocks)
    return tuple(dial.bound(blocks) for dial in dials)


def _checked_mask(mask: Any) -> torch.Tensor:
    if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool or mask.ndim != 2:
        given = f"{tuple(mask.shape)} of {mask.dtype}" if isinstance(mask, torch.Tensor) else type(mask).__name__
        raise SettingError(
            "protect is a bool tensor [batch, length].", given=given, mend="Mark what must stay with True."
        )
    return mask
