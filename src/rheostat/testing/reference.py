"""A slow reference for token pruning: it masks what the product removes.

Every block runs at full length, in the plain model's own code and eager attention. Dropped positions are frozen, and
hidden from later blocks as keys. It shares no code with the product but the names of a family's modules.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from rheostat.models.families import Located, locate
from rheostat.models.layouts import PostNorm, PreNorm
from rheostat.models.salience import salience_of

__all__ = ["Reference", "Rule", "masked_reference"]

Score = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""From weights ``[heads, queries, keys]``, who is seen ``[queries, keys]`` and real queries ``[queries]`` to scores."""


@dataclass(slots=True)
class Reference:
    """What the reference found.

    Attributes:
        logits: Of the model's head at every position, ``[batch, columns, ...]``, or of the row for a classifier.
        survivors: For each block and row, sorted columns that went on, over all turns.
        entered: For each block and row, sorted columns that entered.
    """

    logits: torch.Tensor
    survivors: list[list[list[int]]]
    entered: list[list[list[int]]] = field(default_factory=list)


def column_sum(weights: torch.Tensor, seen: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Score by the sum of each key's column over heads and real queries: the paper's."""
    return (weights * real[None, :, None]).sum(dim=(0, 1))


@dataclass(frozen=True, slots=True)
class Rule:
    """Who goes on.

    Attributes:
        floor: Least number of states a block keeps of a turn.
        ends: Whether the first and the last real column of a turn are protected; None for the family's default.
        score: How a key is scored.
        decay: After l blocks about ``rate ** (l ** decay)`` of a turn is left.
        entry: About ``rate ** entry`` of a turn enters the first block, and blocks keep ``rate ** (1 - entry)`` in
            place of the rate.
        entry_scorer: Who enters: by the model's table of ``"salience"``, or a fifth of them from the beginning of a
            turn and the rest from its end, ``"ends"``.
    """

    floor: int = 5
    ends: tuple[bool, bool] | None = None
    score: Score = column_sum
    decay: float = 1.0
    entry: float = 0.0
    entry_scorer: str = "salience"


def masked_reference(
    model: nn.Module,
    input_ids: torch.Tensor,
    mask: torch.Tensor,
    turns: Sequence[tuple[int, float]],
    *,
    rule: Rule | None = None,
    **inputs: Any,
) -> Reference:
    """Run a model the slow way.

    Args:
        model: A plain model of a supported family; it is copied, in float64 with eager attention.
        input_ids: ``[batch, columns]``, all turns one after the other.
        mask: Which columns are real, bool ``[batch, columns]``.
        turns: For each turn its number of columns and its keep rate, in order; they sum to ``columns``.
        rule: Who goes on; None for the product's defaults.
        inputs: Further inputs of the model, for instance ``position_ids``.
    """
    plain: Any = deepcopy(model).double()
    plain.set_attn_implementation("eager")
    run = _Run(locate(plain), mask.bool(), list(turns), rule or Rule())
    if run.rule.entry:
        run.enter(run.near() if run.rule.entry_scorer == "ends" else run.telling(input_ids, salience_of(plain)))
    with torch.no_grad(), run.watching():
        output = plain(input_ids=input_ids, attention_mask=mask.long(), use_cache=False, **inputs)
    logits = output.logits if hasattr(output, "logits") else output.last_hidden_state
    return Reference(logits, run.survivors, run.entered)


class _Run:
    def __init__(self, located: Located, mask: torch.Tensor, turns: list[tuple[int, float]], rule: Rule) -> None:
        self.located, self.mask, self.turns, self.rule = located, mask, turns, rule
        self.ends = rule.ends or ((False, True) if located.family.kind == "decoder" else (True, False))
        self.alive = mask.clone()
        self.entered: list[list[list[int]]] = []
        self.survivors: list[list[list[int]]] = []
        self.weights: torch.Tensor | None = None
        self.middle: torch.Tensor | None = None

    def enter(self, scores: list[torch.Tensor]) -> None:
        """Choose who enters the first block, by scores of each row's columns."""
        for row, own in enumerate(scores):
            for part, rate in self._parts():
                self.alive[row, part] = self._best(row, part, rate**self.rule.entry, own[part])

    def telling(self, ids: torch.Tensor, table: torch.Tensor | None) -> list[torch.Tensor]:
        """Score what says most, or stands beside one that says twice as much."""
        if table is None:
            raise AssertionError("a cut before the first block needs a table of salience")
        found = []
        for row, tokens in enumerate(ids.tolist()):
            says = [float(table[token]) if real else 0.0 for token, real in zip(tokens, self.mask[row], strict=True)]
            lends = [0.0, *(0.0 if math.isinf(own) else own / 2 for own in says), 0.0]
            found.append(torch.tensor([max(own, lends[at], lends[at + 2]) for at, own in enumerate(says)]))
        return found

    def near(self) -> list[torch.Tensor]:
        """Score what stands near an end of its turn; four tokens at the end are as near as one at the beginning."""
        found = [torch.zeros(real.shape[0]) for real in self.mask]
        for row, scores in enumerate(found):
            for part, _ in self._parts():
                columns = [column for column in range(part.start, part.stop) if self.mask[row, column]]
                for at, column in enumerate(columns):
                    scores[column] = -min(4 * at, len(columns) - 1 - at)
        return found

    def _parts(self) -> Iterator[tuple[slice, float]]:
        start = 0
        for length, rate in self.turns:
            yield slice(start, start + length), rate
            start += length

    @contextmanager
    def watching(self) -> Iterator[None]:
        hooks = []
        for block, attention in zip(self.located.blocks, self.located.attentions(), strict=True):
            hooks.append(block.register_forward_pre_hook(self._before, with_kwargs=True))
            hooks.append(attention.register_forward_hook(self._keep_weights))
            hooks.append(_middle_of(self.located, block).register_forward_pre_hook(self._keep_middle))
            hooks.append(block.register_forward_hook(self._after, with_kwargs=True))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _before(self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.entered.append(_columns(self.alive))
        attention = self.located.family.layout.dispatcher(block)
        self.seen = self._may_see(attention)
        # Finite in float32 too, where some families take the softmax: a query that sees nothing gives no NaN.
        bias = torch.zeros(self.seen.shape, dtype=torch.float64).masked_fill(~self.seen, -1e30)
        mask_at = {"gpt2": 2, "bert": 1, "roberta": 1, "electra": 1, "distilbert": 1}.get(
            self.located.family.model_type
        )
        if mask_at is not None and len(args) > mask_at:
            return (*args[:mask_at], bias[:, None], *args[mask_at + 1 :]), kwargs
        return args, {**kwargs, "attention_mask": bias[:, None]}

    def _may_see(self, attention: nn.Module) -> torch.Tensor:
        columns = torch.arange(self.mask.shape[1])
        distance = columns[:, None] - columns[None, :]
        seen = distance >= 0 if attention.is_causal else torch.ones_like(distance, dtype=torch.bool)
        window = getattr(attention, "sliding_window", None)
        if window is None and self.located.family.model_type == "mistral":
            window = attention.config.sliding_window  # type: ignore[union-attr]
        if window is not None:
            seen = seen & (distance.abs() < window)
        return seen[None] & self.alive[:, None, :]

    def _keep_weights(self, module: nn.Module, args: Any, output: Any) -> None:
        self.weights = output[1]

    def _keep_middle(self, module: nn.Module, args: Any) -> None:
        self.middle = args[0]

    def _after(self, block: nn.Module, args: Any, kwargs: Any, output: torch.Tensor) -> torch.Tensor:
        before = args[0]
        goes_on = torch.stack([self._choose(row) for row in range(self.mask.shape[0])])
        middle = self.middle
        if middle is None:
            raise AssertionError("the feed-forward half was not seen")
        out = torch.where(goes_on[..., None], output, torch.where(self.alive[..., None], middle, before))
        self.alive = goes_on
        self.survivors.append(_columns(goes_on))
        return out

    def _choose(self, row: int) -> torch.Tensor:
        goes_on = torch.zeros_like(self.alive[row])
        start = 0
        for length, rate in self.turns:
            part = slice(start, start + length)
            goes_on[part] = self._choose_in_turn(row, part, rate)
            start += length
        return goes_on

    def _choose_in_turn(self, row: int, part: slice, rate: float) -> torch.Tensor:
        if self.weights is None:
            raise AssertionError("eager attention gave no weights")
        alive = self.alive[row, part].double()
        scores = self.rule.score(self.weights[row, :, part, part], self.seen[row, part, part], alive)
        done, rate = len(self.survivors), rate ** (1 - self.rule.entry)
        here = rate if done == 0 else rate ** ((done + 1) ** self.rule.decay - done**self.rule.decay)
        return self._best(row, part, here, scores)

    def _best(self, row: int, part: slice, rate: float, scores: torch.Tensor) -> torch.Tensor:
        alive, real = self.alive[row, part], self.mask[row, part]
        before, total = int(alive.sum()), int(real.sum())
        inside = real.nonzero().flatten().tolist()
        kept = {inside[0]} if self.ends[0] and inside else set()
        kept |= {inside[-1]} if self.ends[1] and inside else set()
        wanted = max(math.ceil(round(rate * before, 9)), self.rule.floor, len(kept))
        order = sorted(alive.nonzero().flatten().tolist(), key=lambda i: (i not in kept, -float(scores[i])))
        chosen = torch.zeros_like(alive)
        chosen[order[: min(total, before, wanted)]] = True
        return chosen


def _middle_of(located: Located, block: nn.Module) -> nn.Module:
    """Return the module whose input is the state between attention and feed-forward."""
    layout = located.family.layout
    if isinstance(layout, PreNorm):
        return block.get_submodule(layout.before_feed_forward)
    if isinstance(layout, PostNorm):
        return block.get_submodule(layout.feed_forward)
    return layout.feed_forward_parts(block)[0]


def _columns(alive: torch.Tensor) -> list[list[int]]:
    return [row.nonzero().flatten().tolist() for row in alive]
