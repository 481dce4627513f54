"""Recipes: what a step is made of, and their files."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.core.errors import SettingError
from rheostat.train.recipes import (
    Mixed,
    Moment,
    Nested,
    Pass,
    Plain,
    Recipe,
    Sandwich,
    Uniform,
    keep_rate,
    make_recipe,
    read_recipe,
    recipe_from_json,
    recipe_text,
    recipes,
    shipped,
)

ALL = [recipe() for recipe in recipes()]


@pytest.mark.parametrize("recipe", ALL, ids=lambda recipe: recipe.name)
def test_every_recipe_reads_and_writes_yaml(recipe: Recipe, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe_text(recipe, "rheostat finetune"), encoding="utf-8")
    assert read_recipe(str(file)) == recipe
    assert json.loads(json.dumps(recipe.to_json())) == recipe.to_json()
    assert recipe.told().endswith(".")


@pytest.mark.parametrize("recipe", ALL, ids=lambda recipe: recipe.name)
def test_every_recipe_is_shipped_as_a_file_that_begins_with_its_command(recipe: Recipe) -> None:
    text = shipped()[recipe.name]
    assert read_recipe(recipe.name) == recipe
    assert text.startswith(f"# rheostat finetune --recipe {recipe.name} --model ")


@pytest.mark.parametrize("recipe", ALL, ids=lambda recipe: recipe.name)
@given(step=st.integers(0, 1000), seed=st.integers(0, 5))
def test_a_step_depends_on_its_moment_alone(recipe: Recipe, step: int, seed: int) -> None:
    moment = Moment(seed, step, 1001, 6)
    passes = recipe.passes(moment)
    assert passes == recipe.passes(moment)
    assert all(0.0 < rate <= 1.0 for one in passes for rate in one.settings.values())
    remembered = [one.remember for one in passes]
    assert not any(one.distil and not any(remembered[:at]) for at, one in enumerate(passes))


def test_uniform_draws_one_rate() -> None:
    (only,) = Uniform(0.1, 0.9).passes(Moment(3, 7, 10, 6))
    assert only.settings == {"tokens": keep_rate(3, 7, 0.1, 0.9)}


def test_mixed_draws_as_many_rates_below_the_geometric_mean_as_above_it() -> None:
    passes = [Mixed(0.04, 1.0, full=0.0).passes(Moment(0, step, 2000, 6)) for step in range(2000)]
    rates = [only.settings["tokens"] for (only,) in passes]
    assert 0.04 <= min(rates) < 0.05
    assert 0.95 < max(rates) <= 1.0
    assert abs(sum(rate < 0.2 for rate in rates) / 2000 - 0.5) < 0.03


@pytest.mark.parametrize(("blocks", "entry"), [(6, 0.8), (18, 0.0), (18, 0.8)])
def test_mixed_begins_at_an_eighth_of_the_work_of_any_model(blocks: int, entry: float) -> None:
    passes = [Mixed(full=0.0).passes(Moment(0, step, 500, blocks, entry)) for step in range(500)]
    lowest = min(only.settings["tokens"] for (only,) in passes)
    entering = [lowest ** (entry + block * (1 - entry)) for block in range(blocks)]
    assert sum(entering) / blocks == pytest.approx(0.125, abs=0.005)
    assert "from an eighth of the work to 1" in Mixed().told()


def test_mixed_stays_below_its_upper_end() -> None:
    passes = [Mixed(keep_high=0.3, full=0.0).passes(Moment(0, step, 50, 18)) for step in range(50)]
    assert all(only.settings["tokens"] == pytest.approx(0.3) for (only,) in passes)


def test_mixed_begins_with_the_full_model_alone() -> None:
    recipe = Mixed(full=0.0, warm=0.25)
    full = [recipe.passes(Moment(0, step, 400, 6)) == (Pass(),) for step in range(400)]
    assert full == [True] * 100 + [False] * 300
    assert recipe.told().endswith("; the first 25% of the run trained the full model alone.")
    assert "first" not in Mixed().told()
    with pytest.raises(SettingError, match="warm is a number at least 0 and at most 1"):
        Mixed(warm=1.5)


def test_mixed_trains_the_full_model_in_a_share_of_the_steps() -> None:
    full = [Mixed(full=0.25).passes(Moment(0, step, 2000, 6)) == (Pass(),) for step in range(2000)]
    assert abs(sum(full) / 2000 - 0.25) < 0.03


def test_mixed_answers_at_its_depths_in_every_step() -> None:
    recipe = Mixed(full=0.5, depths=[4, 6])  # type: ignore[arg-type]
    steps = [recipe.passes(Moment(0, step, 50, 6)) for step in range(50)]
    assert {one.depths for (one,) in steps} == {(4, 6)}
    assert {len(one.settings) for (one,) in steps} == {0, 1}
    assert recipe.trains == ("tokens", "depth")
    assert Mixed().trains == ("tokens",)
    assert recipe.told().endswith("; every step trained the depths 4 and 6.")
    assert recipe_from_json(recipe.to_json()) == recipe


def test_a_sandwich_has_the_full_model_the_smallest_and_those_between() -> None:
    full, smallest, *between = Sandwich(0.1, 0.8, between=3, distil=0.7).passes(Moment(0, 0, 10, 6))
    assert (full.settings, full.remember, full.distil) == ({}, True, 0.0)
    assert smallest.settings == {"tokens": 0.1}
    assert len({one.settings["tokens"] for one in between}) == 3
    assert all(0.1 <= one.settings["tokens"] <= 0.8 for one in between)
    assert {one.distil for one in (smallest, *between)} == {0.7}


def test_nested_answers_at_its_depths() -> None:
    assert Nested().passes(Moment(0, 0, 10, 6))[0].depths == (2, 4, 6)
    assert Nested().passes(Moment(0, 0, 10, 5))[0].depths == (1, 3, 5)
    drawn = {Nested((1, 3, 6), sampled=2).passes(Moment(0, step, 50, 6))[0].depths for step in range(50)}
    assert drawn == {(1, 3), (1, 6), (3, 6)}
    assert Plain().passes(Moment(0, 0, 10, 6))[0].depths == ()


@pytest.mark.parametrize(
    ("name", "settings", "text"),
    [
        ("unifrom", {}, "Did you mean 'uniform'"),
        ("uniform", {"keep_lo": 0.1}, "no such setting.*Did you mean 'keep_low'"),
        ("plain", {"keep_low": 0.1}, "no such setting.*It has none"),
        ("uniform", {"keep_low": 0.0}, "keep_low is a number above 0 and at most 1"),
        ("uniform", {"keep_high": True}, "keep_high is a number above 0"),
        ("uniform", {"keep_low": 0.9, "keep_high": 0.5}, "from keep_low up to keep_high"),
        ("sandwich", {"distil": 1.1}, "distil is a number at least 0 and at most 1"),
        ("sandwich", {"between": -1}, "between is a whole number from 0"),
        ("mixed", {"depths": [6, 4]}, "ascending whole numbers from 1"),
        ("nested", {"depths": [0, 2]}, "ascending whole numbers from 1"),
        ("nested", {"depths": [4, 2]}, "ascending whole numbers"),
        ("nested", {"depths": [2, 2]}, "each once"),
        ("nested", {"sampled": 0}, "sampled is a whole number from 1"),
    ],
)
def test_nonsense_is_refused(name: str, settings: dict, text: str) -> None:
    with pytest.raises(SettingError, match=text):
        make_recipe(name, **settings)


@pytest.mark.parametrize(
    ("recipe", "text"),
    [
        (Mixed(depths=(4, 7)), "between 1 and the model's 6 blocks"),
        (Nested((2, 7)), "between 1 and the model's 6 blocks"),
        (Nested((1, 2, 3, 4, 5, 6, 7)), "Leave out those above 6"),
        (Nested((2, 6), sampled=3), "No more depths are drawn"),
    ],
)
def test_a_recipe_that_contradicts_the_model_is_refused(recipe: Recipe, text: str) -> None:
    with pytest.raises(SettingError, match=text):
        recipe.check(6)


def test_a_recipe_that_fits_is_not_refused() -> None:
    Nested((2, 6), sampled=2).check(6)
    Nested((2, 7)).check(8)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("keep_low: 0.1", "has a line 'recipe: NAME'"),
        ("- a", "has a line"),
        ("a: [", "is YAML"),
        ("recipe: no", "has a"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingError, match=said):
        read_recipe(str(file))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(SettingError, match="missing.yaml"):
        read_recipe("missing.yaml")


def test_recipes_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Uniform().keep_low = 0.5  # type: ignore[misc]
    assert recipe_from_json({"recipe": "nested", "depths": [1, 2]}) == Nested((1, 2))
