"""The exit dial: a text leaves the model as soon as it is sure enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, final

from rheostat.core.dial import Dial
from rheostat.core.exits import ExitRule
from rheostat.core.knob import Knob
from rheostat.core.space import Exclusion
from rheostat.techniques.contract import Leaving, Restriction, Target

__all__ = ["Exits"]


@final
@dataclass(frozen=True, slots=True)
class Exits(Leaving):
    """Let each row of a batch leave at the first exit where the highest probability reaches the dial's value.

    Easy texts stop after a few blocks, hard ones run them all, and no row depends on its neighbours. Exits lie behind
    every few blocks; a row's answer is that of the model at its depth, by the model's own head, so that few models are
    any good at it untrained. The dials tokens and depth hold, too: no row goes deeper than the depth dial says.

    Source: https://arxiv.org/abs/2309.08968 (SoFT). Deviations: one threshold for all exits, which is the dial;
    ``rheostat exits`` chooses one for each on data, and knows a second criterion.

    Attributes:
        exit_every: Blocks from exit to exit.

    Example:
        >>> handle = attach(model, "tokens", "depth", "exits")  # doctest: +SKIP
        >>> handle.set(exit=0.95, tokens=0.8)  # doctest: +SKIP
    """

    exit_every: int = 2

    name: ClassVar[str] = "exits"
    stage: ClassVar[Literal["inference"]] = "inference"
    summary: ClassVar[str] = "each text leaves the model as soon as it is sure enough"
    dials: ClassVar[tuple[Dial, ...]] = (
        Dial("exit", "probability at which a text leaves", 0.0, 1.0, neutral=1.0, moves="request", open_low=True),
    )
    knobs: ClassVar[tuple[Knob, ...]] = (Knob("exit_every", "blocks from exit to exit", 2, low=1),)

    @classmethod
    def restrictions(cls, target: Target) -> tuple[Restriction, ...]:
        """Return that it is for classifiers."""
        if target.task == "classification":
            return ()
        reason = "texts leave a classifier early; for the tokens of a language model there is rheostat exits"
        return tuple(Exclusion(name, None, reason) for name in ("exit", "exit_every"))

    def rule(self, settings: Mapping[str, float], blocks: int) -> ExitRule | None:
        """Return the dial's threshold for every exit below the last block."""
        exits = range(self.exit_every, blocks, self.exit_every)
        return ExitRule(dict.fromkeys(exits, settings["exit"])) if exits else None
