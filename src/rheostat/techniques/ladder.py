"""A text in a key-value cache whose tokens went to different depths."""

from __future__ import annotations

from typing import Any, Literal

import torch

from rheostat.core.errors import SettingError, UnsupportedModelError
from rheostat.core.ledger import COPIED, EXACT, FILLED, PROJECTED, PRUNED, Ledger
from rheostat.models.cache import PrunedLayer, new_cache
from rheostat.models.families import locate
from rheostat.models.segment import Segment, through
from rheostat.techniques.depths import blocks_of
from rheostat.techniques.handle import Handle

__all__ = ["Fill", "Ladder"]

Fill = Literal["exact", "project", "copy"]
"""What blocks above a token's depth hold of it: nothing until a later token goes there, then the exact keys and values,
for all such tokens in one pass; keys and values projected at once from the state with which it left; or those of the
block it left at."""


class Ladder:
    """One text, token by token, each as far up the blocks as it is wanted.

    A token is pushed, lifted to one depth after another, and left where it is. Tokens that stand lower are lifted along
    when a later one goes past them, from their saved states: no block runs twice for a token. So the depths of tokens
    that are not at the top never rise from an earlier to a later one.

    Args:
        handle: The handle of a language model; it has at least one dial.
        prompt: Token ids ``[1, length]``, without padding. It goes through every block, at the settings of the other
            dials in force: the token dial prunes it, and nothing after it.

    Attributes:
        logits: The prompt's answer for the token after it, ``[1, 1, vocabulary]``.
        ledger: What each block holds of each column.
        cache: The cache, of pruned layers.

    Raises:
        UnsupportedModelError: If the model is no language model.
        SettingError: If the prompt has not the shape.
    """

    def __init__(self, handle: Handle, prompt: torch.Tensor) -> None:
        if handle.family.kind != "decoder":
            raise UnsupportedModelError("Text is written by a decoder.", given=handle.family.label)
        if prompt.ndim != 2 or prompt.shape[0] != 1 or not prompt.shape[1]:
            raise SettingError(
                "Tokens of different depths are written for one prompt at a time, without padding.",
                given=f"token ids of shape {tuple(prompt.shape)}",
                mend="Pass token ids [1, length], one prompt after another.",
            )
        self._handle, self._blocks = handle, blocks_of(handle)
        self._base: Any = locate(handle.model).base
        self._plain = handle.neutral()
        self.cache = new_cache(self._blocks)
        self.ledger = Ledger(self._blocks)
        self._tokens: list[torch.Tensor] = []
        # Of the tokens that are not at the top yet, which are the last ones: how deep each is, and its state there.
        self._waiting: list[tuple[int, torch.Tensor | None]] = []
        self.logits = self._read(prompt)

    def push(self, token: torch.Tensor) -> None:
        """Append a token, id ``[1, 1]``; it has gone through no block yet."""
        if self._waiting and self._waiting[-1][1] is None:
            raise AssertionError("a token is lifted before the next one is pushed")
        self._tokens.append(token)
        self._waiting.append((0, None))
        self.ledger.extend(1)

    def lift(self, depth: int, *, answers: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Run the last token up to a depth, and all that it passes.

        Args:
            depth: Where to, above where it is.
            answers: Of how many of the last tokens the answers are wanted; all of them end at this depth.

        Returns:
            Logits ``[1, answers, vocabulary]``, and the last token's state before and after the last block.
        """
        while True:
            start = self._waiting[-1][0]
            stop = min([depth, *(at for at, _ in self._waiting if at > start)])
            # The head is asked at the end only: with a large vocabulary it costs more than several blocks.
            segment, logits = self._run(start, stop, answers if stop == depth else 0)
            if logits is not None:
                return logits, segment.seen[stop - 2][:, -1:], segment.left[:, -1:]

    def fill(self, how: Fill) -> None:
        """Let the blocks above the last token hold something of it; with ``"exact"`` they wait."""
        if how == "exact" or not self._waiting:
            return
        depth, state = self._waiting[-1]
        if state is None:
            raise AssertionError("a token is lifted before it is left")
        if how == "project":
            self._project(depth, state)
        else:
            self._copy(depth)
        column = len(self.ledger) - 1
        self.ledger.mark(range(depth, self._blocks), [column], PROJECTED if how == "project" else COPIED)
        self._waiting.pop()

    def drop(self, count: int) -> None:
        """Take the last tokens back."""
        if count == 0:
            return
        column = len(self.ledger) - count
        for layer in self.cache.layers:
            if isinstance(layer, PrunedLayer):
                layer.forget(column)
        self.ledger.forget(column)
        del self._tokens[-count:]
        del self._waiting[len(self._waiting) - min(count, len(self._waiting)) :]

    def _read(self, prompt: torch.Tensor) -> torch.Tensor:
        with through(Segment(self._blocks)):
            logits = self._answer(prompt, 1)
        if logits is None:
            raise AssertionError("one answer was asked for")
        entered = [[*range(prompt.shape[1])], *(block[0] for block in self._handle.survivors()[:-1])]
        self.ledger.extend(prompt.shape[1])
        for block, columns in enumerate(entered):
            self.ledger.mark([block], range(prompt.shape[1]), PRUNED)
            self.ledger.mark([block], columns, EXACT)
        return logits

    def _run(self, start: int, stop: int, answers: int) -> tuple[Segment, torch.Tensor | None]:
        """Run blocks over all tokens that wait at ``start``: the last ones."""
        count = sum(at == start for at, _ in self._waiting)
        watch = frozenset({stop - 2, stop - 1})
        if start == 0:
            segment = Segment(stop, watch=watch)
        else:
            states = torch.cat([state for at, state in self._waiting[-count:] if state is not None], dim=1)
            segment = Segment(stop, start, states, watch=watch)
        with self._handle.at(protect=None, **self._plain), through(segment):
            logits = self._answer(torch.cat(self._tokens[-count:], dim=1), answers)
        columns = range(len(self.ledger) - count, len(self.ledger))
        self.ledger.mark(range(start, stop), columns[:-1], FILLED)
        self.ledger.mark(range(start, stop), columns[-1:], EXACT)
        # At the top nobody waits for anything any more.
        lifted = [] if stop == self._blocks else [(stop, state) for state in segment.left.split(1, dim=1)]
        self._waiting[len(self._waiting) - count :] = lifted
        return segment, logits

    def _answer(self, ids: torch.Tensor, answers: int) -> torch.Tensor | None:
        """Run the model; return logits of the last positions, None where no answers are wanted."""
        cached = {"past_key_values": self.cache, "use_cache": True}
        if answers == 0:
            self._base(input_ids=ids, **cached)
            return None
        output: Any = self._handle.model(input_ids=ids, logits_to_keep=answers, **cached)
        logits = getattr(output, "logits", None)
        if logits is None or logits.ndim != 3:
            raise UnsupportedModelError("Text is written by a language model.", given=type(self._handle.model).__name__)
        answer: torch.Tensor = logits
        return answer

    def _project(self, depth: int, state: torch.Tensor) -> None:
        segment = Segment(self._blocks, depth, state, project=True)
        with self._handle.at(protect=None, **self._plain), through(segment):
            self._answer(self._tokens[-1], 0)

    def _copy(self, depth: int) -> None:
        source: Any = self.cache.layers[depth - 1]
        column = torch.tensor([[source.seen - 1]], device=source.columns.device)
        last = source.keys[..., -1:, :], source.values[..., -1:, :]
        for layer in self.cache.layers[depth:]:
            if isinstance(layer, PrunedLayer):
                layer.hold(column, None, source.seen, last)
