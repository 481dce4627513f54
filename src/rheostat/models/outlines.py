"""The shape of a model without its weights: what can be known before anything is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from rheostat.core.text import Task
from rheostat.models.sources import place_of, readable_errors

__all__ = ["load_outline"]


def load_outline(source: str | Path, task: Task, *, cache_dir: Path | None = None) -> PreTrainedModel:
    """Return a model whose tensors have shapes and no content: it cannot run, and takes no memory.

    Args:
        source: What `rheostat.models.sources.load_model` takes; a GGUF file is converted, as there.
        task: The head that is wanted.
        cache_dir: Folder for converted weights; None for the user's cache.

    Raises:
        UnsupportedModelError: If the architecture is unknown or has no head for the task.
        RheostatError: If the source cannot be found.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

    place = place_of(str(source), cache_dir)
    factory: Any = AutoModelForCausalLM if task == "causal-lm" else AutoModelForSequenceClassification
    with readable_errors(str(source)), torch.device("meta"):
        model: PreTrainedModel = factory.from_config(AutoConfig.from_pretrained(place))
    return model
