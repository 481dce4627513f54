"""Recipes by name, and as YAML files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from rheostat.core.errors import SettingError
from rheostat.core.extras import require
from rheostat.core.names import suggest
from rheostat.train.recipes.mixed import Mixed
from rheostat.train.recipes.nested import Nested
from rheostat.train.recipes.plain import Plain
from rheostat.train.recipes.recipe import Recipe
from rheostat.train.recipes.sandwich import Sandwich
from rheostat.train.recipes.uniform import Uniform

__all__ = ["make_recipe", "read_recipe", "recipe_from_json", "recipe_text", "recipes", "shipped", "with_changes"]

_RECIPES: Final[tuple[type[Recipe], ...]] = (Uniform, Mixed, Sandwich, Nested, Plain)
_SUFFIXES: Final = (".yaml", ".yml")


def recipes() -> tuple[type[Recipe], ...]:
    """Return every recipe."""
    return _RECIPES


def make_recipe(name: str, **settings: Any) -> Recipe:
    """Make a recipe by name.

    Raises:
        SettingError: If nobody knows the name, or a setting is unknown or unfit.

    Example:
        >>> make_recipe("uniform", keep_low=0.1)
        Uniform(keep_low=0.1, keep_high=1.0)
    """
    by_name = {recipe.name: recipe for recipe in _RECIPES}
    if name not in by_name:
        raise SettingError("A recipe is a known one, or a YAML file.", given=repr(name), mend=suggest(name, by_name))
    recipe = by_name[name]
    known = [field.name for field in fields(recipe)]  # type: ignore[arg-type]
    for setting in settings:
        if setting not in known:
            mend = suggest(setting, known) if known else "It has none."
            raise SettingError(f"The recipe '{name}' has no such setting.", given=repr(setting), mend=mend)
    return recipe(**settings)


def recipe_from_json(data: Mapping[str, Any]) -> Recipe:
    """Make a recipe from what `Recipe.to_json` returned.

    Raises:
        SettingError: If it names no recipe, or `make_recipe` refuses it.
    """
    if not isinstance(data, Mapping) or not isinstance(data.get("recipe"), str):
        raise SettingError("A recipe file has a line 'recipe: NAME'.", given=repr(data)[:80])
    return make_recipe(data["recipe"], **{str(name): value for name, value in data.items() if name != "recipe"})


def read_recipe(name: str) -> Recipe:
    """Return a shipped recipe by name, or the one in a YAML file.

    Args:
        name: A name such as ``uniform``, or the path of a ``.yaml`` file.

    Raises:
        SettingError: If there is no such recipe or file, or the file is no recipe.
    """
    if not name.endswith(_SUFFIXES):
        known = shipped()
        return recipe_from_json(_parsed(known[name], f"{name}.yaml")) if name in known else make_recipe(name)
    try:
        text = Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError("A recipe file is a YAML file that can be read.", given=f"{name}: {error}") from error
    return recipe_from_json(_parsed(text, name))


def with_changes(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Return a recipe with some settings changed.

    Raises:
        SettingError: If it has no such setting, or refuses the value.
    """
    data = recipe.to_json()
    return make_recipe(**{"name": data.pop("recipe"), **data, **changes})


def shipped() -> dict[str, str]:
    """Return the YAML text of each shipped recipe, by name; its first line is the command that runs it."""
    folder = files("rheostat.train.recipes")
    return {
        place.name.removesuffix(".yaml"): place.read_text(encoding="utf-8")
        for place in sorted(folder.iterdir(), key=lambda place: place.name)
        if place.name.endswith(".yaml")
    }


def recipe_text(recipe: Recipe, command: str = "") -> str:
    """Return a recipe as YAML; `read_recipe` reads it back.

    Args:
        recipe: The recipe.
        command: The command that runs it, for the first line; left out where empty.
    """
    yaml: Any = require("yaml", extra="train")
    text: str = yaml.safe_dump(recipe.to_json(), sort_keys=False)
    return f"# {command}\n{text}" if command else text


def _parsed(text: str, name: str) -> Mapping[str, Any]:
    yaml: Any = require("yaml", extra="train")
    try:
        data: Mapping[str, Any] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingError(
            "A recipe file is YAML.", given=f"{name}: {str(error).splitlines()[0]}", mend="See the shipped ones."
        ) from error
    return data
