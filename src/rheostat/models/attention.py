"""Attention over the survivors, with the column sums of its softmax at little extra cost.

Registered with Transformers' attention interface under one name; only blocks that run under pruning dispatch to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from rheostat.models.cache import PrunedLayer
from rheostat.models.scoring import Scorer

__all__ = ["ATTENTION_NAME", "AttentionCall", "ConfigView", "rheostat_attention"]

ATTENTION_NAME = "rheostat"
"""The name under which Transformers finds `rheostat_attention`."""

BLOCK_ELEMENTS = 1 << 20
"""Softmax entries of one pass, 4 MiB in float32: memory stays linear in the length, a pass in the processor's cache.

MiniLM, 8 texts of 256 tokens, keep 0.97 and 0.5: 0.98x and 3.7x the plain speed with 2^18, 1.01x and 3.9x with 2^20,
0.82x and 3.3x with 2^22."""

MOST_QUERIES = 128
"""Queries of one pass: under causal attention, the keys behind a pass's last query are skipped."""

MOST_KEPT = 1 << 24
"""Softmax entries of a block, 32 MiB in half precision, that are kept for the backward pass where that is faster.

It is in bf16 on a CPU, where the backward pass of PyTorch's flash attention takes twice as long as in float32: MiniLM's
heads, batch 8, forward and backward, one thread: 25 ms instead of 6 at 96 tokens, 82 instead of 43 at 256."""


class AttentionCall:
    """One block's attention under pruning: what it may see, and what it is asked to sum.

    Args:
        columns: Columns of the queries in the whole sequence, int64 ``[batch, queries]``.
        valid: Which queries are real, bool like ``columns``; None where all are.
        scorer: Whose queries are summed; None where nothing will be dropped.
        layer: The cache layer that holds the keys, this call's own included; None where nothing is cached.
        span: Columns of the whole sequence so far, this call's included.
    """

    def __init__(
        self,
        columns: torch.Tensor,
        valid: torch.Tensor | None,
        scorer: Scorer | None,
        layer: PrunedLayer | None,
        span: int,
    ) -> None:
        self.columns, self.valid, self.scorer, self.layer, self.span = columns, valid, scorer, layer, span
        self.received: torch.Tensor | None = None
        self.visible: torch.Tensor | None = None

    @property
    def key_columns(self) -> torch.Tensor:
        """Columns of the keys in the whole sequence, ``[batch, keys]``."""
        held = None if self.layer is None else self.layer.columns
        return self.columns if held is None else held

    @property
    def key_valid(self) -> torch.Tensor | None:
        """Which keys are real; None where all are."""
        return self.valid if self.layer is None else self.layer.valid

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let the attention module that is called inside dispatch to `rheostat_attention`."""
        token = _CALL.set(self)
        try:
            yield
        finally:
            _CALL.reset(token)

    def query_weights(self) -> torch.Tensor | None:
        """Which queries are summed, float ``[batch, queries]``; None where every one is."""
        if self.scorer is None or (self.scorer.queries == "all" and self.valid is None):
            return None
        real = torch.ones_like(self.columns, dtype=torch.bool) if self.valid is None else self.valid
        if self.scorer.queries != "all":
            from_end = real.flip(1).cumsum(1).flip(1)
            real = real & (from_end <= self.scorer.queries)
        return real.float()


_CALL: ContextVar[AttentionCall | None] = ContextVar("rheostat_attention_call", default=None)


class ConfigView:
    """A model's configuration as its attention modules see it while they wear rheostat.

    Everything is the configuration's own, except that the attention implementation is rheostat's while a block runs
    under pruning in this context. So the model's configuration is never written to, and at neutral nothing differs.
    """

    def __init__(self, config: Any) -> None:
        object.__setattr__(self, "_rheostat_config", config)

    @property
    def _attn_implementation(self) -> str:
        own: str = self._rheostat_config._attn_implementation
        return own if _CALL.get() is None else ATTENTION_NAME

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_rheostat_config"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._rheostat_config, name, value)


def rheostat_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attend over the survivors, in the signature of Transformers' attention interface.

    Args:
        module: The attention module; its ``is_causal`` counts.
        query: ``[batch, heads, queries, head size]``.
        key: ``[batch, key-value heads, keys, head size]``, queries' own keys last.
        value: Like ``key``.
        attention_mask: Not read: what may be seen follows from the columns.
        dropout: Probability with which an attention weight is dropped, in training.
        options: ``scaling`` (a factor on the scores; one over the root of the head size by default),
            ``sliding_window`` and ``softcap`` are honoured.

    Returns:
        The output, ``[batch, queries, heads, head size]``, and None in place of the weights.
    """
    call = _CALL.get()
    if call is None:
        raise AssertionError("rheostat's attention was called outside a pruned block")
    view = _View(module, call, query, key, options)
    scored = call.scorer is not None and call.scorer.queries != 0
    if not torch.is_grad_enabled() and scored:
        return _blocked(view, query, key, value, 0.0, scored=True), None
    if view.softcap is None and torch.is_grad_enabled() and _half_on_cpu(query) and _entries(query, key) <= MOST_KEPT:
        return _kept(view, query, key, value, dropout, scored=scored), None
    if view.softcap is not None:
        output = _blocked(view, query, key, value, dropout, scored=False)
    else:
        output = _fused(view, query, key, value, dropout)
    if scored:
        with torch.no_grad():
            _blocked(view, query.detach(), key.detach(), None, 0.0, scored=True)
    return output, None


def _half_on_cpu(query: torch.Tensor) -> bool:
    return query.device.type == "cpu" and query.dtype in (torch.bfloat16, torch.float16)


def _entries(query: torch.Tensor, key: torch.Tensor) -> int:
    return query.shape[:3].numel() * key.shape[2]


class _View:
    """Who may see whom."""

    def __init__(
        self,
        module: nn.Module,
        call: AttentionCall,
        query: torch.Tensor,
        key: torch.Tensor,
        options: dict[str, Any],
    ) -> None:
        self.call = call
        self.causal = bool(getattr(module, "is_causal", False))
        window = options.get("sliding_window")
        # A window wider than everything seen so far hides nothing.
        self.window = window if window is not None and call.span > window else None
        self.softcap = options.get("softcap")
        scaling = options.get("scaling")
        self.scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
        self.past = key.shape[2] - query.shape[2]
        self.simple = self.window is None and call.key_valid is None
        self._corner: torch.Tensor | None = None

    def mask(self, start: int, stop: int, low: int, high: int) -> torch.Tensor | None:
        """Which of keys ``low`` to ``high`` queries ``start`` to ``stop`` see, ``[batch or 1, 1, queries, keys]``."""
        call = self.call
        if self.simple:
            if not self.causal or stop - start == 1:
                return None
            ones = torch.ones((stop - start, high - low), dtype=torch.bool, device=call.columns.device)
            return ones.tril(self.past + start - low)[None, None]
        own = call.columns[:, start:stop, None]
        other = call.key_columns[:, None, low:high]
        allowed = other <= own if self.causal else torch.ones((), dtype=torch.bool, device=own.device)
        if self.window is not None:
            allowed = allowed & ((own - other).abs() < self.window)
        if call.key_valid is not None:
            allowed = allowed & call.key_valid[:, None, low:high]
        return allowed[:, None]

    def corner(self, rows: int) -> torch.Tensor | None:
        """Which of the last ``rows`` keys as many queries see where nothing but later keys is hidden."""
        if not self.causal or rows == 1:
            return None
        if self._corner is None or self._corner.shape[-1] != rows:
            self._corner = torch.ones((1, 1, rows, rows), dtype=torch.bool, device=self.call.columns.device).tril()
        return self._corner

    def reach(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        """Bounds of the keys that queries ``start`` to ``stop`` can see, known without looking at columns.

        Columns ascend with the slots that hold them, so a causal query sees nothing behind its own slot; and they
        ascend by one at least, so a window of columns spans no more slots than that.
        """
        low, high = 0, self.past + stop if self.causal else keys
        if self.window is not None and (self.past == 0 or self.call.key_valid is None):
            low = max(0, self.past + start - self.window + 1)
            high = min(high, self.past + stop + self.window - 1)
        return low, high


def _fused(view: _View, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, dropout: float) -> torch.Tensor:
    queries, keys = query.shape[2], key.shape[2]
    triangular = view.simple and view.causal and view.past == 0 and queries > 1
    output = functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=None if triangular else view.mask(0, queries, 0, keys),
        dropout_p=dropout,
        is_causal=triangular,
        scale=view.scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return output.transpose(1, 2)


def _kept(
    view: _View,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    dropout: float,
    *,
    scored: bool,
) -> torch.Tensor:
    """Attend with weights that are kept for the backward pass, in half precision; see `MOST_KEPT`."""
    queries, keys = query.shape[2], key.shape[2]
    mask = view.mask(0, queries, 0, keys)
    # Autocast would compute the softmax in float32, and round it to the same numbers afterwards.
    with torch.autocast("cpu", enabled=False):
        scores = _scores(view, query, key.transpose(2, 3))
        if mask is not None:
            lowest = torch.finfo(scores.dtype).min
            scores = scores + torch.zeros_like(mask, dtype=scores.dtype).masked_fill_(~mask, lowest).unsqueeze(1)
        weights = scores.softmax(dim=-1)
        if scored:
            sums = _Sums(view.call, keys - view.past, query)
            heads_together = weights.detach().sum((1, 2), dtype=torch.float32)[:, None, None]
            sums.add(heads_together, mask, (0, queries), -view.past)
            sums.finish()
        return _mix(functional.dropout(weights, dropout) if dropout else weights, value, query.shape[1])


def _blocked(
    view: _View,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor | None,
    dropout: float,
    *,
    scored: bool,
) -> torch.Tensor:
    """Attend in passes over the queries; sum the columns of each pass's softmax while it is at hand.

    Exact, without a matrix of queries by keys: memory is linear in the length. Without ``value`` only the sums are
    taken, and an empty tensor is returned.
    """
    batch, heads, queries, _ = query.shape
    keys = key.shape[2]
    sums = _Sums(view.call, keys - view.past, query) if scored else None
    # Heads come as views of [batch, keys, heads, size], which every pass would copy.
    transposed = key.contiguous().transpose(2, 3)
    value = None if value is None else value.contiguous()
    rows = min(MOST_QUERIES, max(8, BLOCK_ELEMENTS // max(1, batch * heads * keys)))
    output = query.new_empty((batch, queries, heads, value.shape[-1] if value is not None else 0))
    for start in range(0, queries, rows):
        stop = min(start + rows, queries)
        low, high = view.reach(start, stop, keys)
        # Where only the triangle above the diagonal is hidden, it is in the last columns.
        mask = view.corner(stop - start) if view.simple else view.mask(start, stop, low, high)
        weights = _softmax(view, query[:, :, start:stop], transposed[..., low:high], mask)
        if sums is not None:
            sums.add(weights, mask, (start, stop), low - view.past)
        if value is not None:
            weights = functional.dropout(weights, dropout) if dropout else weights
            # Written in place: a list of pieces, joined at the end, left holes that the next pass did not fit into,
            # and 40 % more memory at 8,192 tokens.
            output[:, start:stop] = _mix(weights, value[:, :, low:high], heads)
    if sums is not None:
        sums.finish()
    return output


def _softmax(view: _View, query: torch.Tensor, transposed: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return the weights ``[batch, groups, heads a group, queries, keys]``, in float32 at least."""
    scores = _scores(view, query, transposed)
    if scores.dtype in (torch.float16, torch.bfloat16):
        scores = scores.float()
    if view.softcap is not None:
        scores = torch.tanh(scores / view.softcap) * view.softcap
    if mask is not None:
        # The lowest finite number instead of minus infinity: a row without tokens gives no NaN.
        hidden = ~mask.unsqueeze(1)
        scores[..., scores.shape[-1] - mask.shape[-1] :].masked_fill_(hidden, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1)


def _scores(view: _View, query: torch.Tensor, transposed: torch.Tensor) -> torch.Tensor:
    """Return scaled products ``[batch, groups, heads a group, queries, keys]``; heads of a group share their keys."""
    batch, heads, rows, size = query.shape
    groups = transposed.shape[1]
    folded = (query * view.scaling).reshape(batch, groups, heads // groups * rows, size)
    return torch.matmul(folded, transposed).view(batch, groups, heads // groups, rows, -1)


def _mix(weights: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    batch, groups, share, rows, keys = weights.shape
    mixed = torch.matmul(weights.reshape(batch, groups, share * rows, keys).to(value.dtype), value)
    return mixed.view(batch, heads, rows, -1).transpose(1, 2)


class _Sums:
    """Column sums of the softmax over the queries that count, for the keys of this call."""

    def __init__(self, call: AttentionCall, own: int, query: torch.Tensor) -> None:
        dtype = torch.float64 if query.dtype == torch.float64 else torch.float32
        self.call, self.counted = call, call.query_weights()
        self.received = torch.zeros((query.shape[0], own), dtype=dtype, device=query.device)
        counts = call.scorer is not None and call.scorer.reads_visible
        self.visible = torch.zeros_like(self.received) if counts else None

    def add(self, weights: torch.Tensor, mask: torch.Tensor | None, queries: tuple[int, int], first: int) -> None:
        """Add a pass.

        Args:
            weights: Its softmax, ``[batch, groups, share, queries, keys]``.
            mask: What of the last keys was seen, or None.
            queries: The pass's first query, and the one after its last.
            first: Its first key, counted from this call's own first: negative where it is an earlier call's.
        """
        batch, _, share, rows, keys = weights.shape
        counted = None if self.counted is None else self.counted[:, slice(*queries)].to(weights.dtype)
        skip, at = max(-first, 0), max(first, 0)
        own = slice(at, at + keys - skip)
        if counted is None:
            mass = weights.sum(dim=(1, 2, 3))
        else:
            heads = counted[:, None, None, :].expand(batch, weights.shape[1], share, rows).reshape(batch, 1, -1)
            mass = torch.matmul(heads, weights.reshape(batch, -1, keys)).squeeze(1)
        self.received[:, own] += mass[:, skip:]
        if self.visible is None:
            return
        seen = weights.new_ones((batch, rows, keys))
        if mask is not None:
            seen[..., keys - mask.shape[-1] :] *= mask[:, 0]
        sums = seen.sum(1) if counted is None else torch.matmul(counted.unsqueeze(1), seen)[:, 0]
        self.visible[:, own] += sums[:, skip:]

    def finish(self) -> None:
        """Hand the sums to the call."""
        self.call.received, self.call.visible = self.received, self.visible
