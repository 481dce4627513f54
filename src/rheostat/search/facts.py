"""What a search has to know about a model before its space can be made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rheostat.bundle.store import MANIFEST, read_manifest
from rheostat.core.errors import SettingError, UnsupportedModelError
from rheostat.core.names import suggest
from rheostat.core.text import Task
from rheostat.models.families import Family, families, locate
from rheostat.models.outlines import load_outline
from rheostat.train.adapters.fitting import unfit_kinds

__all__ = ["ModelFacts", "facts_of"]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known about a model without its weights.

    Attributes:
        type: Transformers' ``model_type``, of a supported family.
        blocks: How many blocks it has.
        task: What it does, or is to learn.
        trained: Whether it is a trained bundle: then it is not trained again.
        recipe: The recipe that a bundle was trained with; None where it is none, or nobody knows.
        ready: Whether it can run before it is trained, as a language model can.
        unfit: Kinds of `rheostat.train.adapters.Trainable` that cannot be trained, each with the reason.

    Raises:
        SettingError: If the type is of no supported family.
    """

    type: str
    blocks: int
    task: Task
    trained: bool = False
    recipe: str | None = None
    ready: bool = False
    unfit: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = [family.model_type for family in families()]
        if self.type not in known:
            raise SettingError(
                "A model is of a supported family.", given=repr(self.type), mend=suggest(self.type, known)
            )

    @property
    def family(self) -> Family:
        """The model's family."""
        return next(family for family in families() if family.model_type == self.type)


def facts_of(source: str, task: Task, *, device: str = "cpu") -> ModelFacts:
    """Return what is known about a model or bundle; its weights are not read.

    Args:
        source: A bundle's folder, or what `rheostat.models.sources.load_model` takes.
        task: What it is to do.
        device: Where it would be trained.

    Raises:
        UnsupportedModelError: If it cannot do the task, or its family is not supported.
        RheostatError: If it cannot be found.
    """
    manifest = read_manifest(Path(source)) if (Path(source) / MANIFEST).is_file() else None
    if manifest is not None and manifest["task"] != task:
        raise UnsupportedModelError(
            "A bundle does the task that it was trained for.",
            given=f"{source}, which does {manifest['task']}, for {task}",
            mend="Name the other task, or another bundle.",
        )
    outline = load_outline(source, task)
    located = locate(outline)
    return ModelFacts(
        located.family.model_type,
        len(located.blocks),
        task,
        trained=manifest is not None,
        recipe=None if manifest is None else _recipe(manifest),
        ready=manifest is not None or task == "causal-lm",
        unfit={} if manifest is not None else unfit_kinds(outline, device),
    )


def _recipe(manifest: Mapping[str, Any]) -> str | None:
    recipe = manifest.get("training", {}).get("settings", {}).get("recipe")
    return recipe.get("recipe") if isinstance(recipe, Mapping) else None
