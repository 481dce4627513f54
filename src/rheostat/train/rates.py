"""The learning rate where nobody names one."""

from __future__ import annotations

from typing import Final

from rheostat.train.adapters.trainable import Kind

__all__ = ["usual_rate"]

_RATE: Final = 4e-5
_WIDTH: Final = 768
_TIMES: Final[dict[Kind, float]] = {"full": 1.0, "last-k": 3.0}
_TIMES_OF_OTHERS: Final = 10.0


def usual_rate(kind: Kind, width: int) -> float:
    """Return the highest learning rate of AdamW that is usual for what is trained.

    4e-5 for all weights of a model 768 wide, which is that of Zero-Shot Adjustable Acceleration on GPT-2, and in
    inverse proportion to the width for others, so that a step changes what a layer says by as much
    (https://arxiv.org/abs/2203.03466). Adapters and heads alone take ten times as much (for low rank see
    https://thinkingmachines.ai/blog/lora), the last blocks three times. A rule of thumb, not a measurement.

    Args:
        kind: What is trained.
        width: Numbers in a hidden state.

    Example:
        >>> usual_rate("full", 384), usual_rate("lora", 640)
        (8e-05, 0.00048)
    """
    return float(f"{_RATE * _WIDTH / width * _TIMES.get(kind, _TIMES_OF_OTHERS):.3g}")
