"""Run: python -m benchmarks.speed [--text FILE] [--tokens 512 1024] [--batch 1 4] [--keep 0.9 0.5] [--cache].

How much of the work that the token dial saves is also saved on the clock? For each length, batch and keep rate:

- T is the plain model's time for next-token logits, F its time for a single token (reading every weight once, and
  what a forward costs whatever its length), C = T - F what the length costs;
- the counted work of the blocks falls by a ratio, counted from who really survived: C / ratio + F is predicted;
- T(keep) is measured in turn with T, the order swapped from pair to pair; predicted / measured is taken pair by
  pair.

Wanted: at least 0.85; hoped for: 0.95.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from transformers import PreTrainedModel

from benchmarks.common import describe, parser, prepare, report, token_rows
from rheostat.measure.intervals import median_interval
from rheostat.measure.macs import batch_macs
from rheostat.measure.model_cost import cost_of
from rheostat.measure.probes import synchroniser
from rheostat.measure.timing import PairedTiming, paired
from rheostat.techniques import Handle, attach

WANTED = 0.85


def main(arguments: list[str] | None = None) -> None:
    options = _options(arguments)
    model, loaded = prepare(options)
    handle = attach(model, "tokens")
    rows = []
    for length in options.tokens:
        for batch in options.batch:
            tokens = token_rows(options, loaded, batch, length)
            fixed = _fixed(options, model, tokens)
            for keep in options.keep:
                rows.append(_measure(options, handle, tokens, fixed, keep))
                print(rows[-1], flush=True)
    handle.detach()
    about = {**describe(options, model), "cache": options.cache, "technique": handle.technique.to_json()}
    report(options, about, rows)
    worst = min(row["predicted_over_measured"] for row in rows)
    print(f"The least of predicted / measured is {worst:.3f}; wanted is {WANTED} or more.")


def shares(timing: PairedTiming, fixed: float, ratio: float) -> list[float]:
    """Return predicted / measured of each pair; 1 where the clock saves all that the count does."""
    pairs = zip(timing.plain, timing.other, strict=True)
    return [((plain - fixed) / ratio + fixed) / other for plain, other in pairs]


def _fixed(options: Any, model: PreTrainedModel, tokens: torch.Tensor) -> float:
    """Return the seconds of a plain forward of one token."""
    one = _reading(options, model, tokens[:, :1])
    return paired(one, one, max(10, options.pairs), synchronise=synchroniser(tokens.device)).plain_seconds


def _measure(options: Any, handle: Handle, tokens: torch.Tensor, fixed: float, keep: float) -> dict[str, Any]:
    read = _reading(options, handle.model, tokens)

    def pruned() -> None:
        with handle.at(tokens=keep):
            read()

    timing = paired(read, pruned, options.pairs, synchronise=synchroniser(tokens.device))
    ratio = _ratio(handle, tokens, pruned)
    found = shares(timing, fixed, ratio)
    return {
        "tokens": tokens.shape[1],
        "batch": tokens.shape[0],
        "keep": keep,
        "plain_seconds": timing.plain_seconds,
        "one_token_seconds": fixed,
        "seconds": timing.seconds,
        "macs_ratio": ratio,
        "predicted_seconds": (timing.plain_seconds - fixed) / ratio + fixed,
        "predicted_over_measured": median(found),
        "predicted_over_measured_95": list(median_interval(found)),
        "speedup": timing.speedup,
        "speedup_95": list(timing.speedup_interval),
    }


def _ratio(handle: Handle, tokens: torch.Tensor, pruned: Callable[[], None]) -> float:
    """Return the counted ratio of the blocks alone: the head's one row is the same in either, and in F."""
    pruned()
    cost, lengths = cost_of(handle.model), [tokens.shape[1]] * tokens.shape[0]
    plain = batch_macs(cost, lengths, [], output_rows=0)
    return plain.total / batch_macs(cost, lengths, handle.survivors(), output_rows=0).total


def _reading(options: Any, model: Any, tokens: torch.Tensor) -> Callable[[], None]:
    @torch.inference_mode()
    def read() -> None:
        model(tokens, use_cache=options.cache, logits_to_keep=1)

    return read


def _options(arguments: list[str] | None) -> Any:
    options = parser(__doc__ or "", "speed", pairs=9)
    options.add_argument("--tokens", type=int, nargs="+", default=[512, 1024])
    options.add_argument("--batch", type=int, nargs="+", default=[1, 4])
    options.add_argument("--keep", type=float, nargs="+", default=[0.95, 0.9, 0.8, 0.5])
    options.add_argument("--cache", action="store_true", help="fill a key-value cache as well")
    return options.parse_args(arguments)


if __name__ == "__main__":
    main()
