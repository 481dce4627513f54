"""A training as the worker does it: from plain data to a bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rheostat.bundle.store import MANIFEST, BundleInfo, save_bundle
from rheostat.core.errors import SettingError
from rheostat.core.files import write_atomically
from rheostat.core.text import Split, TextData
from rheostat.models.sources import length_limit, load_model
from rheostat.search.parts import ADAPTER, RECIPE
from rheostat.train.adapters.trainable import Trainable
from rheostat.train.examples import make_examples
from rheostat.train.finetune import FinetuneSettings, finetune
from rheostat.train.recipes import read_recipe
from rheostat.train.salience import early_dial, teach_salience
from rheostat.train.words import give_words

__all__ = ["learn", "read_texts", "settings_of", "write_texts"]

_ADAPTERS = ("rank", "alpha", "dropout", "share", "mask", "blocks")


def settings_of(
    model: str, data: TextData, out: Path, training: Mapping[str, Any], more: Mapping[str, Any]
) -> FinetuneSettings:
    """Return the settings of a training.

    Args:
        model: Where the weights come from.
        data: What is learnt from.
        out: The bundle's folder.
        training: The axes of the training, see `rheostat.search.parts.TRAINING`.
        more: Other settings of `FinetuneSettings`; an axis wins over them.

    Raises:
        SettingError: If a recipe is unknown or a setting unfit.
    """
    axes = dict(training)
    recipe = axes.pop(RECIPE, None)
    adapter = {name: axes.pop(name) for name in _ADAPTERS if name in axes}
    kind = axes.pop(ADAPTER, None)
    if adapter and kind is None:
        raise SettingError("Settings of an adapter come with its kind.", given=adapter, mend=f"Name the {ADAPTER}.")
    trained = {} if kind is None else {"trainable": Trainable(kind, **adapter)}
    chosen = {} if recipe is None else {"recipe": read_recipe(str(recipe))}
    return FinetuneSettings(model, data, out, task=data.task, resume=True, **{**more, **chosen, **trained, **axes})


def learn(order: Mapping[str, Any]) -> None:
    """Fine-tune by an order; one without axes makes a bundle of the model as it is, with the dial that fits the texts.

    Args:
        order: ``model``, ``data`` (a file of `write_texts`), ``out``, ``training`` and ``more`` as `settings_of`
            takes them.
    """
    data, out = read_texts(Path(order["data"])), Path(order["out"])
    if order["training"]:
        finetune(settings_of(order["model"], data, out, order["training"], order["more"]))
    elif not (out / MANIFEST).is_file():
        _wrap(order["model"], data, out)


def write_texts(file: Path, data: TextData, splits: tuple[str, ...]) -> None:
    """Write some splits of texts as JSON."""
    kept = {name: asdict(data.splits[name]) for name in splits if name in data.splits}
    content = {"splits": kept, "task": data.task, "label_names": data.label_names, "notes": data.notes}
    write_atomically(file, json.dumps(content))


def read_texts(file: Path) -> TextData:
    """Return what `write_texts` wrote."""
    content = json.loads(file.read_text(encoding="utf-8"))
    names = content["label_names"]
    return TextData(
        {name: Split(**split) for name, split in content["splits"].items()},
        content["task"],
        None if names is None else tuple(names),
        tuple(content["notes"]),
    )


def _wrap(model: str, data: TextData, out: Path) -> None:
    loaded = load_model(model, data.task, label_names=data.label_names)
    longest = min(length_limit(loaded.model, loaded.tokenizer) or 512, 512)
    info = BundleInfo(data.task, longest, data.label_names, loaded.origin)
    dial = early_dial(loaded.model, data)
    if data.task == "classification":
        rows = make_examples(loaded.tokenizer, data.split("train"), data.task, longest).rows
        give_words(loaded.model, rows)
        if dial.entry:
            teach_salience(loaded.model, loaded.tokenizer, rows)
    save_bundle(out, loaded.model, loaded.tokenizer, dial, info)
