"""What a configuration says of training, as objects that training takes."""

from __future__ import annotations

from collections.abc import Mapping

from rheostat.core.knob import Value
from rheostat.search.catalogue import ADAPTER_AXES, AS_IT_IS
from rheostat.train.adapters.trainable import Trainable
from rheostat.train.recipes import Recipe, read_recipe

__all__ = ["recipe_of", "trainable_of"]


def recipe_of(configuration: Mapping[str, Value]) -> Recipe | None:
    """Return the recipe that a configuration trains with; None where it trains nothing and runs the model as it is.

    Example:
        >>> recipe_of({"recipe": "uniform", "tokens": 0.5}).name, recipe_of({"recipe": "none"}), recipe_of({})
        ('uniform', None, None)
    """
    name = configuration.get("recipe", AS_IT_IS)
    return None if name == AS_IT_IS else read_recipe(str(name))


def trainable_of(configuration: Mapping[str, Value]) -> Trainable:
    """Return which weights a configuration trains.

    Example:
        >>> trainable_of({"recipe": "plain", "adapter": "lora", "rank": 4}).rank, trainable_of({}).kind
        (4, 'full')
    """
    settings = {setting: configuration[axis] for axis, setting in ADAPTER_AXES.items() if axis in configuration}
    return Trainable.from_json({"kind": configuration.get("adapter", "full"), **settings})
