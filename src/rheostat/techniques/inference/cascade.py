"""The cascade dial: a text whose answer is unsure at a low keep rate is read again, whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, final

from rheostat.core.dial import Dial
from rheostat.core.space import Exclusion
from rheostat.techniques.contract import Again, Rereading, Restriction, Target

__all__ = ["Cascade"]


@final
@dataclass(frozen=True, slots=True)
class Cascade(Rereading):
    """Read every text at the keep rate, and those whose highest probability is below the dial's value again, whole.

    Most texts are easy: a few of their tokens settle the answer. The cascade spends on the others what it saved on
    those, so that accuracy at a speed is that of a higher keep rate. It is one model at two settings of its token dial,
    with nothing else to load. Both readings run as deep as the depth dial says; a row's answer is that of its last
    reading, and no row depends on its neighbours. Where nothing is dropped, no text is read twice.

    Source: model cascades by confidence, https://arxiv.org/abs/2012.01988. Deviations: one model, not several; the
    threshold is a dial.

    Example:
        >>> handle = attach(model, "tokens", "cascade")  # doctest: +SKIP
        >>> handle.set(tokens=0.2, cascade=0.8)  # doctest: +SKIP
    """

    name: ClassVar[str] = "cascade"
    stage: ClassVar[Literal["inference"]] = "inference"
    summary: ClassVar[str] = "a text whose answer is unsure is read again, whole"
    dials: ClassVar[tuple[Dial, ...]] = (
        Dial("cascade", "probability below which a text is read again", 0.0, 1.0, neutral=0.0, moves="request"),
    )
    acts_with: ClassVar[str] = "tokens"

    @classmethod
    def restrictions(cls, target: Target) -> tuple[Restriction, ...]:
        """Return that it is for classifiers."""
        if target.task == "classification":
            return ()
        return (Exclusion("cascade", None, "what is read again is a text that gets one answer, from a classifier"),)

    def again(self, settings: Mapping[str, float]) -> Again | None:
        """Return the threshold, and the whole text; None where the first reading drops nothing."""
        if settings.get("tokens", 1.0) == 1.0:
            return None
        return Again(settings["cascade"], {"tokens": 1.0})
