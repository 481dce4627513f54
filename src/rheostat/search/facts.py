"""What a search has to know about a model before its space can be made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rheostat.bundle.store import MANIFEST, read_manifest
from rheostat.core.errors import SettingError, UnsupportedModelError
from rheostat.core.names import suggest
from rheostat.core.text import Task
from rheostat.models.families import Family, families, locate
from rheostat.models.outlines import load_outline
from rheostat.models.words import has_words
from rheostat.train.adapters.fitting import unfit_kinds

__all__ = ["ModelFacts", "facts_of"]

_NO_HEAD: Final = "the model has no head for the task before it is trained"


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known about a model without its weights.

    Attributes:
        type: Transformers' ``model_type``, of a supported family.
        blocks: How many blocks it has.
        task: What it does, or is to learn.
        trained: Whether it is a trained bundle: then it is not trained again.
        recipe: The recipe that a bundle was trained with; None where it is none, or nobody knows.
        unready: Why it cannot run before it is trained; empty where it can, as a language model can, and a classifier
            that was fine-tuned elsewhere for the classes of the data.
        words: Whether a trained bundle has a table of what words say about labels.
        unfit: Kinds of `rheostat.train.adapters.Trainable` that cannot be trained, each with the reason.

    Raises:
        SettingError: If the type is of no supported family.
    """

    type: str
    blocks: int
    task: Task
    trained: bool = False
    recipe: str | None = None
    unready: str = _NO_HEAD
    words: bool = True
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


def facts_of(source: str, task: Task, *, labels: Sequence[str] | None = None, device: str = "cpu") -> ModelFacts:
    """Return what is known about a model or bundle; its weights are not read.

    Args:
        source: A bundle's folder, or what `rheostat.models.sources.load_model` takes.
        task: What it is to do.
        labels: Names of the data's classes; None takes them to be the model's.
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
        unready="" if manifest is not None or task == "causal-lm" else _why_unready(outline.config, labels),
        words=manifest is None or has_words(Path(source)),
        unfit={} if manifest is not None else unfit_kinds(outline, device),
    )


def _why_unready(config: Any, labels: Sequence[str] | None) -> str:
    """Return why a classifier cannot be taken as it is: a class that stands for another would go unnoticed."""
    if not any(name.endswith("ForSequenceClassification") for name in config.architectures or ()):
        return _NO_HEAD
    names = [str(config.id2label[at]) for at in range(config.num_labels)]
    numbered = [str(at) for at in range(len(names))]
    if labels is None or list(labels) == numbered:
        return ""
    if [name.lower() for name in names] == [name.lower() for name in labels]:
        return ""
    return f"its classes are {_shown(names)}, in this order, and those of the data {_shown(labels)}"


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")


def _recipe(manifest: Mapping[str, Any]) -> str | None:
    recipe = manifest.get("training", {}).get("settings", {}).get("recipe")
    return recipe.get("recipe") if isinstance(recipe, Mapping) else None
