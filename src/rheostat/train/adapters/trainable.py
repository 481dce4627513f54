"""Which weights are trained: one frozen object that refuses contradictions and reads and writes plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, get_args

from rheostat.core.errors import SettingError
from rheostat.core.names import suggest

__all__ = ["MOST_SHARE", "Kind", "Mask", "Trainable"]

Kind = Literal["full", "lora", "rslora", "dora", "qlora", "shira", "last-k", "frozen"]
"""What is trained; see `Trainable`."""

Mask = Literal["structural", "random", "weight", "gradient", "snip"]
"""How SHiRA chooses the entries that it trains; see `rheostat.train.adapters.masks`."""

MOST_SHARE: Final = 0.02
"""Largest share of a matrix that SHiRA trains."""

_LORA: Final = ("lora", "rslora", "dora", "qlora")
_USES: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(_LORA, ("rank", "alpha", "dropout")),
    "shira": ("share", "mask"),
    "last-k": ("blocks",),
}
_RSLORA_ALPHA: Final = 16.0


@dataclass(frozen=True, slots=True)
class Trainable:
    """Which weights a fine-tuning trains. Whatever the kind, a classifier's head is trained as a whole.

    Settings that a kind does not use are None, and refused if they are given; those that it uses have defaults.

    | kind | what is trained | uses |
    |---|---|---|
    | ``full`` | every weight | |
    | ``lora`` | low-rank adapters on all linear layers (https://arxiv.org/abs/2106.09685) | rank, alpha, dropout |
    | ``rslora`` | the same, scaled by alpha / sqrt(rank) (https://arxiv.org/abs/2312.03732) | rank, alpha, dropout |
    | ``dora`` | low-rank direction and a magnitude (https://arxiv.org/abs/2402.09353) | rank, alpha, dropout |
    | ``qlora`` | LoRA over blocks held in 4 bits (https://arxiv.org/abs/2305.14314) | rank, alpha, dropout |
    | ``shira`` | a few entries of each matrix of the blocks (https://arxiv.org/abs/2406.13175) | share, mask |
    | ``last-k`` | the last blocks, and what comes after them (https://arxiv.org/abs/2310.17752) | blocks |
    | ``frozen`` | the head alone | |

    Attributes:
        kind: What is trained.
        rank: Rank of the adapters, from 1; 8 where it is used.
        alpha: Scale of the adapters, above 0: they count alpha / rank (alpha / sqrt(rank) for ``rslora``). 2 x rank
            where it is used, 16 for ``rslora``.
        dropout: Dropout in front of the adapters, in [0, 1); 0.05 where it is used.
        share: Share of the entries of each matrix that is trained, above 0 and at most `MOST_SHARE`; that by default.
        mask: How these entries are chosen; ``"snip"`` by default.
        blocks: How many of the last blocks are trained, from 1; 1 by default.

    Raises:
        SettingError: If a setting is unfit, or of another kind.

    Example:
        >>> Trainable("lora", rank=4).to_json()
        {'kind': 'lora', 'rank': 4, 'alpha': 8.0, 'dropout': 0.05}
    """

    kind: Kind = "full"
    rank: int | None = None
    alpha: float | None = None
    dropout: float | None = None
    share: float | None = None
    mask: Mask | None = None
    blocks: int | None = None

    def __post_init__(self) -> None:
        """Refuse what contradicts the kind, and fill in the defaults."""
        _check_option("kind", self.kind, get_args(Kind))
        self._refuse_foreign()
        for name, default in self._defaults().items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
        for name in ("rank", "blocks"):
            _check_whole(name, getattr(self, name))
        _check_range("alpha", self.alpha, "above 0", lambda value: 0 < value < math.inf)
        _check_range("dropout", self.dropout, "from 0 and below 1", lambda value: 0 <= value < 1)
        if self.mask is not None:
            _check_option("mask", self.mask, get_args(Mask))
        _check_range("share", self.share, f"above 0 and at most {MOST_SHARE:g}", lambda value: 0 < value <= MOST_SHARE)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Trainable:
        """Return what `to_json` made data of.

        Raises:
            SettingError: If a setting is unknown or unfit.
        """
        known = [spec.name for spec in fields(cls)]
        for name in data:
            if name not in known:
                raise SettingError(
                    "What is trained has settings that are known.", given=repr(name), mend=suggest(str(name), known)
                )
        return cls(**data)

    def to_json(self) -> dict[str, Any]:
        """Return the kind and the settings that it uses, as plain data."""
        return {"kind": self.kind, **{name: getattr(self, name) for name in self.uses(self.kind)}}

    @staticmethod
    def uses(kind: str) -> tuple[str, ...]:
        """Return the settings that a kind uses.

        Example:
            >>> Trainable.uses("shira")
            ('share', 'mask')
        """
        return _USES.get(kind, ())

    @property
    def is_lora(self) -> bool:
        """Whether it trains low-rank adapters of any kind."""
        return self.kind in _LORA

    def _refuse_foreign(self) -> None:
        for spec in fields(self):
            name = spec.name
            if name == "kind" or getattr(self, name) is None or name in _USES.get(self.kind, ()):
                continue
            owners = [kind for kind, uses in _USES.items() if name in uses]
            raise SettingError(
                f"The setting '{name}' belongs to {', '.join(owners)}.",
                given=f"{name}={getattr(self, name)!r} with kind={self.kind!r}",
                mend=f"Leave it out, or choose kind={owners[0]!r}.",
            )

    def _defaults(self) -> dict[str, Any]:
        rank = 8 if self.rank is None else self.rank
        # A rank that is no number is refused when it is checked.
        alpha = _RSLORA_ALPHA if self.kind == "rslora" or not isinstance(rank, int) else 2.0 * rank
        values = {"rank": rank, "alpha": alpha, "dropout": 0.05, "share": MOST_SHARE, "mask": "snip", "blocks": 1}
        return {name: values[name] for name in _USES.get(self.kind, ())}


def _check_option(name: str, value: object, options: tuple[str, ...]) -> None:
    if value not in options:
        raise SettingError(f"{name} is one of its options.", given=repr(value), mend=suggest(str(value), options))


def _check_whole(name: str, value: object) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise SettingError(f"{name} is a whole number from 1.", given=repr(value))


def _check_range(name: str, value: Any, domain: str, inside: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not inside(value)):
        raise SettingError(f"{name} is a number {domain}.", given=repr(value))
