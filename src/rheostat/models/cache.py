"""The key-value cache of a pruned model: each block holds what entered it, and nothing else.

`PrunedLayer` is a cache layer in Transformers' own API. Its logical length, columns of the sequence seen, is what
positions are counted from; its physical length, states held, is what masks and memory go by.
"""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from rheostat.core.errors import CacheError

__all__ = ["PrunedLayer", "adopt", "is_pruned", "new_cache", "refuse_holes", "refuse_unfit"]


class PrunedLayer(DynamicLayer):
    """Keys and values of the states that entered one block, with their columns in the sequence.

    Attributes:
        keys: ``[batch, key-value heads, held, head size]``; in a batch whose rows hold different numbers, shorter
            rows are padded, and ``valid`` says where.
        values: Like ``keys``.
        columns: Column of each held state in the whole sequence, int64 ``[batch, held]``.
        valid: Which held states are real, bool ``[batch, held]``; None where all are.
    """

    is_croppable = False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.columns: torch.Tensor | None = None
        self.valid: torch.Tensor | None = None
        self.seen = 0
        self._announced = 0

    def announce(self, columns: torch.Tensor, valid: torch.Tensor | None, seen: int) -> None:
        """Say which states the next `update` brings.

        Args:
            columns: Their columns in the whole sequence, int64 ``[batch, new]``.
            valid: Which of them are real, bool ``[batch, new]``; None where all are.
            seen: Columns of the sequence seen once they are in.
        """
        if self.columns is None:
            self.columns, self.valid = columns, valid
        else:
            self.valid = _joined(self.columns, self.valid, columns, valid)
            self.columns = torch.cat([self.columns, columns], dim=1)
        self.seen, self._announced = seen, columns.shape[1]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append keys and values that were announced, and return all that are held.

        Raises:
            CacheError: If they were not announced: the plain model, without its handle, was given a pruned cache.
        """
        if self._announced != key_states.shape[2]:
            raise CacheError(
                "A cache that was filled under pruning goes on with the model and handle that filled it.",
                given=f"{key_states.shape[2]} new states from a model without them",
                mend="Start a new cache, or attach rheostat again before going on.",
            )
        self._announced = 0
        return super().update(key_states, value_states, *args, **kwargs)

    def hold(
        self,
        columns: torch.Tensor,
        valid: torch.Tensor | None,
        seen: int,
        stored: tuple[torch.Tensor, torch.Tensor],
    ) -> None:
        """Take over what another layer stores, as it is stored; see `announce` for the rest."""
        self.announce(columns, valid, seen)
        self._announced = 0
        DynamicLayer.update(self, *stored)

    def forget(self, column: int) -> None:
        """Forget the states at and after a column, of which none may have been dropped."""
        gone = self.seen - column
        if gone <= 0 or self.columns is None or self.keys is None or self.values is None:
            return
        self.columns = self.columns[:, :-gone]
        self.valid = None if self.valid is None else self.valid[:, :-gone]
        self.keys, self.values, self.seen = self.keys[..., :-gone, :], self.values[..., :-gone, :], column

    def get_seq_length(self) -> int:
        """Return the logical length: columns of the sequence seen so far."""
        return self.seen

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the physical length with the new states in, and offset 0."""
        held = 0 if self.columns is None else self.columns.shape[1]
        return held + query_length, 0

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self.columns = self.valid = None
        self.seen = self._announced = 0

    def crop(self, tokens_to_remove: int) -> NoReturn:
        """Refuse: dropped states cannot be brought back, so a pruned cache cannot be rolled back."""
        raise CacheError(
            "A pruned cache cannot be cropped, which assisted decoding and roll-backs need.",
            given=f"crop({tokens_to_remove})",
            mend="Generate without an assistant, or at the neutral setting.",
        )

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Take rows in the order of ``beam_idx``, for beam search."""
        self.batch_select_indices(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row ``repeats`` times."""
        if self.columns is None:
            return
        rows = torch.arange(self.columns.shape[0], device=self.columns.device).repeat_interleave(repeats)
        self.batch_select_indices(rows)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep only the rows ``indices``, in that order."""
        if self.columns is None:
            return
        at = indices.to(self.columns.device)
        self.columns = self.columns.index_select(0, at)
        self.valid = None if self.valid is None else self.valid.index_select(0, at)
        if self.keys is not None and self.values is not None:
            self.keys, self.values = self.keys.index_select(0, at), self.values.index_select(0, at)


def new_cache(blocks: int) -> DynamicCache:
    """Return an empty cache of `PrunedLayer`, one for each block."""
    cache = DynamicCache()
    cache.layers = [PrunedLayer() for _ in range(blocks)]
    return cache


def is_pruned(cache: object) -> bool:
    """Whether a cache holds pruned layers, so that only the pruned path can go on with it."""
    layers = getattr(cache, "layers", None) or [None]
    return isinstance(layers[0], PrunedLayer)


def adopt(cache: object, blocks: int, mask: torch.Tensor | None) -> DynamicCache:
    """Turn a dynamic cache, empty or filled by the plain model, into a pruned one, in place.

    Args:
        cache: The cache a caller gave.
        blocks: Number of blocks of the model.
        mask: Which columns of the whole sequence are real, bool ``[batch, at least the cached columns]``, or None.

    Raises:
        CacheError: If it is of a kind that cannot hold a different number of states in each block.
    """
    checked = refuse_unfit(cache)
    if not is_pruned(checked):
        checked.layers = [_adopted(layer, mask) for layer in checked.layers[:blocks]]
        checked.layers += [PrunedLayer() for _ in range(blocks - len(checked.layers))]
    return checked


def refuse_unfit(cache: object) -> DynamicCache:
    """Return the cache if it can hold a different number of states in each block.

    Raises:
        CacheError: If it cannot.
    """
    if type(cache) is not DynamicCache or cache.offloading:
        raise CacheError(
            "Pruning needs a dynamic cache that is not offloaded.",
            given=type(cache).__name__,
            mend="Pass a transformers.DynamicCache, or none: the model makes one.",
        )
    return cache


def refuse_holes(cache: Any, stop: int, start: int = 0) -> None:
    """Refuse a cache of which some blocks have seen less than others: attention there would miss what came before.

    Args:
        cache: Any cache of Transformers, or None.
        stop: The block before which the forward ends.
        start: The first block that the forward runs.

    Raises:
        CacheError: If blocks ``start`` and ``stop - 1`` have not seen the same columns. Those between have, since every
            forward runs blocks in order.
    """
    layers = getattr(cache, "layers", None)
    if not layers:
        return
    seen = [int(layers[at].get_seq_length()) if at < len(layers) else 0 for at in (start, stop - 1)]
    if seen[0] != seen[1]:
        raise CacheError(
            "A cache that was filled at one depth goes on at that depth or a smaller one.",
            given=f"a first block that has seen {seen[0]} columns, and a last one that has seen {seen[1]}",
            mend="Start a new cache, or stay at the depth.",
        )


def _adopted(layer: Any, mask: torch.Tensor | None) -> PrunedLayer:
    # A layer that stores states in its own way names the pruned one that stores them alike.
    kind: type[PrunedLayer] | None = getattr(type(layer), "pruned_kind", None)
    adopted = PrunedLayer() if kind is None else kind()
    if kind is None and type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer):
        raise CacheError(
            "Pruning needs plain dynamic cache layers.", given=type(layer).__name__, mend="Start a new cache."
        )
    seen = int(layer.get_seq_length())
    if seen == 0:
        return adopted
    batch, _, held, _ = layer.keys.shape
    columns = torch.arange(seen - held, seen, device=layer.keys.device).expand(batch, held)
    real = None if mask is None else mask[:, seen - held : seen]
    adopted.hold(columns, None if real is None or bool(real.all()) else real, seen, (layer.keys, layer.values))
    return adopted


def _joined(
    old: torch.Tensor, old_valid: torch.Tensor | None, new: torch.Tensor, new_valid: torch.Tensor | None
) -> torch.Tensor | None:
    if old_valid is None and new_valid is None:
        return None
    before = torch.ones_like(old, dtype=torch.bool) if old_valid is None else old_valid
    after = torch.ones_like(new, dtype=torch.bool) if new_valid is None else new_valid
    return torch.cat([before, after], dim=1)
