"""Run: python -m benchmarks.neutral_cost [--tokens 512] [--pairs 30] [--text FILE].

What does a handle cost while its dials are at neutral? Two model objects share their weights; one wears the
token dial at neutral, the other is the plain model. They read the same tokens in turn, the order swapped from pair
to pair. The control row times the plain model against a second plain object in the same way: that is the noise of
the machine. Wanted: at most 1.02.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from transformers import PreTrainedModel

from benchmarks.common import describe, parser, prepare, report, token_rows
from rheostat.core.errors import MeasurementError
from rheostat.measure.probes import synchroniser
from rheostat.measure.timing import PairedTiming, paired
from rheostat.techniques import attach

LIMIT = 1.02


def main(arguments: list[str] | None = None) -> None:
    options = _options(arguments)
    model, loaded = prepare(options)
    tokens = token_rows(options, loaded, options.batch, options.tokens)
    control, worn = twin(model), twin(model)
    handle = attach(worn, "tokens")
    _check_same(model, worn, tokens)
    wait = synchroniser(tokens.device)
    rows = []
    for name, other in (("handle at neutral", worn), ("control: plain twice", control)):
        timing = paired(reading(model, tokens), reading(other, tokens), options.pairs, synchronise=wait)
        rows.append(_row(name, options, timing))
    handle.detach()
    report(options, describe(options, model), rows)
    verdict = "kept" if rows[0]["cost"] <= LIMIT else "NOT kept"
    print(f"The limit of {LIMIT} is {verdict}: {rows[0]['cost']:.4f}.")


def twin(model: PreTrainedModel) -> PreTrainedModel:
    """Return a second model object on the same weights and buffers."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)


def reading(model: PreTrainedModel, tokens: torch.Tensor) -> Callable[[], Any]:
    """Return what reads the tokens up to the logits of the next one."""

    @torch.inference_mode()
    def read() -> Any:
        return model(tokens, use_cache=False, logits_to_keep=1).logits

    return read


def _check_same(model: PreTrainedModel, worn: PreTrainedModel, tokens: torch.Tensor) -> None:
    if not torch.equal(reading(model, tokens)(), reading(worn, tokens)()):
        raise MeasurementError("At neutral the logits are those of the plain model, bit for bit.")


def _row(name: str, options: Any, timing: PairedTiming) -> dict[str, Any]:
    return {
        "what": name,
        "tokens": options.tokens,
        "batch": options.batch,
        "pairs": timing.pairs,
        "plain_seconds": timing.plain_seconds,
        "seconds": timing.seconds,
        "cost": timing.cost,
        "cost_95": list(timing.cost_interval),
    }


def _options(arguments: list[str] | None) -> Any:
    options = parser(__doc__ or "", "neutral_cost", pairs=30)
    options.add_argument("--tokens", type=int, default=512)
    options.add_argument("--batch", type=int, default=1)
    return options.parse_args(arguments)


if __name__ == "__main__":
    main()
