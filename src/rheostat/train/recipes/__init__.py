"""Recipes: how a fine-tuning makes a model robust at every speed."""

from rheostat.train.recipes.files import (
    make_recipe,
    read_recipe,
    recipe_from_json,
    recipe_text,
    recipes,
    shipped,
    with_changes,
)
from rheostat.train.recipes.mixed import Mixed
from rheostat.train.recipes.nested import Nested
from rheostat.train.recipes.plain import Plain
from rheostat.train.recipes.recipe import Moment, Pass, Recipe
from rheostat.train.recipes.sandwich import Sandwich
from rheostat.train.recipes.uniform import Uniform, keep_rate

__all__ = [
    "Mixed",
    "Moment",
    "Nested",
    "Pass",
    "Plain",
    "Recipe",
    "Sandwich",
    "Uniform",
    "keep_rate",
    "make_recipe",
    "read_recipe",
    "recipe_from_json",
    "recipe_text",
    "recipes",
    "shipped",
    "with_changes",
]
