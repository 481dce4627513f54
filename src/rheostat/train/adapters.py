"""LoRA adapters: trained in place of the weights, and merged into them at the end."""

from __future__ import annotations

import warnings
from typing import Any

from rheostat.core.extras import require
from rheostat.core.text import Task

__all__ = ["add_adapters", "merge_adapters"]

_NEW_HEADS = ("pre_classifier",)


def add_adapters(model: Any, task: Task, rank: int) -> Any:
    """Return the model with LoRA adapters on every linear layer; only they and a new head are trained.

    LoRA: https://arxiv.org/abs/2106.09685, with alpha = 2 x rank and dropout 0.05.

    Args:
        model: A Transformers model; changed in place.
        task: What it is for: a classifier's head is trained as a whole.
        rank: Rank of the adapters, at least 1.
    """
    peft = require("peft", extra="train")
    fan_in_fan_out = any(type(module).__name__ == "Conv1D" for module in model.modules())
    heads = [name for name in _NEW_HEADS if hasattr(model, name)]
    config = peft.LoraConfig(
        task_type="SEQ_CLS" if task == "classification" else "CAUSAL_LM",
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.05,
        target_modules="all-linear",
        modules_to_save=heads or None,
        fan_in_fan_out=fan_in_fan_out,
    )
    with warnings.catch_warnings():
        # PEFT 0.21 reads a name that Transformers 5 has deprecated.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return peft.get_peft_model(model, config)


def merge_adapters(model: Any) -> Any:
    """Merge the adapters into the weights, in place, and return the model without them."""
    return model.merge_and_unload()
