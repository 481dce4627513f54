"""Spaces: generated from what is registered, with a reason for everything that is left out."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from rheostat.core.dial import Dial
from rheostat.core.errors import RheostatError, SettingError, UnsupportedModelError
from rheostat.core.knob import Knob
from rheostat.core.space import Space
from rheostat.models.families import locate
from rheostat.search import catalogue as catalogue_module
from rheostat.search.catalogue import catalogue, grid_around, grid_between, grid_of
from rheostat.search.facts import ModelFacts, facts_of
from rheostat.search.scenario import read_scenario
from rheostat.search.spaces import make_space, space_for
from rheostat.techniques import CachePrecision, Precision, TokenPruning, checked_configuration, techniques
from rheostat.techniques.contract import Conversion, Restriction, Target
from rheostat.techniques.inference import torch_int8
from rheostat.testing import tiny_model
from rheostat.train.adapters.fitting import unfit_kinds
from rheostat.train.adapters.trainable import Trainable
from rheostat.train.recipes import recipes

MACHINE = {"cores": 4}
ENCODER = ModelFacts("bert", 6, "classification", unfit={"qlora": "no bitsandbytes"})
WRITER = ModelFacts("gemma3_text", 18, "causal-lm", unready="")
BUNDLE = ModelFacts("bert", 6, "classification", trained=True, recipe="nested", unready="")


def made(facts: ModelFacts = ENCODER, **options: Any) -> Space:
    return make_space(facts, MACHINE, **options)


def reason(space: Space, name: str, value: object = None) -> str:
    return next((each.reason for each in space.exclusions if (each.name, each.value) == (name, value)), "")


def names(space: Space) -> set[str]:
    return {axis.name for axis in space.axes}


def test_the_default_is_the_plain_model() -> None:
    assert made().default == {
        "recipe": "plain",
        "adapter": "full",
        "tokens": 1.0,
        "words": 0.0,
        "precision": "fp32",
        "batch": 8,
        "threads": 4,
    }
    assert made(WRITER, batch=1).default["recipe"] == "none"
    assert made(BUNDLE).default["depth"] == 6


def test_every_knob_dial_and_choice_is_an_axis_or_has_a_reason() -> None:
    for facts in (ENCODER, WRITER, BUNDLE):
        space = made(facts)
        for name in catalogue():
            assert name in names(space) or reason(space, name)
        assert all(each.reason for each in (*space.exclusions, *space.conflicts))


def test_the_inference_part_of_every_configuration_can_be_put_on_a_model() -> None:
    known = {part.name for kind in techniques() for part in (*kind.knobs, *kind.dials)}
    for axis in made(WRITER).axes:
        for value in axis.values if axis.name in known else ():
            assert checked_configuration({axis.name: value})


def test_training_axes_are_what_training_takes() -> None:
    space = made(overrides={"mask": ("snip", "random"), "share": (0.01,)})
    for one in (space.canonical({"adapter": kind}) for kind in space.axis("adapter").values):
        settings = {name: one[name] for name in ("rank", "mask", "share", "blocks") if name in one}
        assert Trainable.from_json({"kind": one["adapter"], **settings})
    assert {recipe.name for recipe in recipes()} == {*space.axis("recipe").values}


def test_an_axis_means_something_only_where_it_is_used() -> None:
    space = made(overrides={"scorer": ("attention", "mean")})

    assert space.axis("rank").when == (("adapter", ("lora", "rslora", "dora")),)
    assert space.axis("depth").when == space.axis("exit").when == (("recipe", ("nested",)),)
    assert space.axis("cascade").when == (("tokens", tuple(each for each in space.axis("tokens").values if each < 1)),)
    assert "cascade" in space.canonical({"tokens": 0.5})
    assert "cascade" not in space.canonical({"tokens": 1.0})
    assert "scorer" in space.canonical({"tokens": 0.5})
    assert "scorer" not in space.canonical({"tokens": 1.0})
    assert "adapter" not in made(WRITER).canonical({"recipe": "none"})
    assert "adapter" in made(WRITER).canonical({"recipe": "plain"})


def test_the_size_is_the_number_of_configurations() -> None:
    small = {"adapter": ("full", "lora"), "tokens": (1, 0.5), "batch": (8,), "backend": ("auto", "torch-int-mm")}
    space = made(overrides=small)

    assert space.size == sum(1 for _ in space.configurations()) > 100
    assert space.conflicts
    assert len({space.key(one) for one in space.configurations()}) == space.size


def test_only_conflicts_that_can_happen_are_declared() -> None:
    space = made(overrides={"backend": ("auto", "torch-int-mm"), "precision": ("fp32", "int8")})

    assert made().conflicts == ()
    assert [each.parts for each in space.conflicts] == [(("precision", ("fp32",)), ("backend", ("torch-int-mm",)))]


@pytest.mark.parametrize(
    ("facts", "options", "name", "value", "said"),
    [
        (ENCODER, {}, "cache", None, "what a decoder has, and BERT is none"),
        (ModelFacts("llama", 4, "classification"), {}, "cache", None, "without a cache"),
        (ENCODER, {}, "recipe", "none", "no head for the task before it is trained"),
        (ENCODER, {}, "adapter", "qlora", "no bitsandbytes"),
        (ENCODER, {"overrides": {"depth": ()}}, "recipe", "nested", "it trains depth, which the space does not have"),
        (ENCODER, {"overrides": {"depth": ()}}, "depth", None, "switched off in the scenario"),
        (ENCODER, {"overrides": {"recipe": ("plain",)}}, "depth", None, "no recipe in the space trains it"),
        (ENCODER, {"overrides": {"recipe": ("plain",)}}, "exit", None, "no recipe in the space trains depth"),
        (WRITER, {}, "exit", None, "texts leave a classifier early"),
        (WRITER, {}, "cascade", None, "a text that gets one answer"),
        (WRITER, {}, "words", None, "a language model has none"),
        (dataclasses.replace(BUNDLE, words=False), {}, "words", None, "known from train texts"),
        (
            dataclasses.replace(ENCODER, unready=""),
            {"splits": ("validation",)},
            "words",
            None,
            "known from train texts",
        ),
        (ENCODER, {"overrides": {"tokens": ()}}, "cascade", None, "means nothing while tokens stays at neutral"),
        (dataclasses.replace(BUNDLE, blocks=2), {}, "exit", None, "2 blocks leave no room for an exit"),
        (ENCODER, {"overrides": {"tokens": ()}}, "scorer", None, "means nothing while tokens stay at neutral"),
        (ENCODER, {"overrides": {"adapter": ("full",)}}, "rank", None, "no adapter in the space uses it"),
        (ENCODER, {"overrides": {"precision": ("int8",)}}, "precision", "fp32", "the baseline has int8 instead"),
        (ENCODER, {"splits": ("validation",)}, "recipe", None, "the data has no train split"),
        (ENCODER, {"splits": ("validation",)}, "depth", None, "the model is not trained"),
        (BUNDLE, {}, "adapter", None, "a trained bundle, which is not trained again"),
        (dataclasses.replace(BUNDLE, recipe="uniform"), {}, "depth", None, "the bundle was trained with uniform"),
        (ModelFacts("bert", 1, "classification"), {}, "recipe", "nested", "it trains depth"),
    ],
)
def test_what_is_left_out_has_its_reason(facts: ModelFacts, options: Any, name: str, value: object, said: str) -> None:
    space = made(facts, **options)

    assert said in reason(space, name, value)
    assert name not in names(space) or value not in space.axis(name).values


def test_a_depth_that_is_named_is_tried_untrained() -> None:
    space = made(dataclasses.replace(BUNDLE, recipe="uniform"), overrides={"depth": (3, 6)})

    assert space.axis("depth").values == (3, 6)
    assert space.axis("depth").when == ()


def test_the_device_and_the_cores_decide_about_threads() -> None:
    assert make_space(ENCODER, {"cores": 6}).axis("threads").values == (1, 2, 4, 6)
    assert "runs on cuda" in reason(make_space(ENCODER, {"cores": 6, "device": "cuda:0"}), "threads")
    assert "not known" in reason(make_space(ENCODER, {}), "threads")
    with pytest.raises(SettingError, match="as many threads as cores, 4. Given: 8 threads"):
        made(overrides={"threads": (8,)})


def test_libraries_that_are_missing_are_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_int8, "missing_engine", lambda name: "not in this torch")
    monkeypatch.setattr("rheostat.techniques.inference.packaged.find_spec", lambda name: None)
    space = made(
        overrides={"backend": ("auto", "torch-fbgemm", "torch-int-mm", "torchao"), "precision": ("fp32", "int8")}
    )

    assert reason(space, "backend", "torch-fbgemm") == "not in this torch"
    assert "not installed" in reason(space, "backend", "torchao")
    assert space.conflict({"precision": "fp32", "backend": "torch-int-mm"}) is not None
    assert space.conflict({"precision": "int8", "backend": "torch-int-mm"}) is None


def test_a_precision_that_no_library_computes_here_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "rheostat.techniques.inference.precision.unusable",
        lambda each, device: None if each.precision == "bf16" else "broken",
    )

    assert made().axis("precision").values == ("fp32", "bf16")
    assert "no library computes it here: torch-x86: broken" in reason(made(), "precision", "int8")
    with pytest.raises(SettingError, match=r"is left a value. Given: int8: no library"):
        made(overrides={"precision": ("int8",)})


def test_the_place_in_the_file_is_named_where_the_model_decides(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("model: m\ndata: d\nspace:\n  depth: [3, 12]\n", encoding="utf-8")
    with pytest.raises(SettingError, match=r"s.yaml, line 4, column 3: 12"):
        space_for(read_scenario(file), ENCODER, MACHINE)


def test_a_scenario_narrows_its_space(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    text = "model: m\ndata: d\nspace: {tokens: [1, 0.5], recipe: plain, adapter: off, batch: [1], threads: off}\n"
    file.write_text(text + "workload: {rows: 1}", encoding="utf-8")
    space = space_for(read_scenario(file), ENCODER, MACHINE, splits=("train", "validation"))

    assert [axis.name for axis in space.axes] == ["recipe", "tokens", "cascade", "words", "precision", "batch"]
    assert space.axis("tokens").values == (0.5, 1.0)
    assert space.default["batch"] == 1


@dataclasses.dataclass(frozen=True)
class Rounding(Conversion):
    """Somebody else's technique."""

    digits: int = 8
    floor_kind: str = "down"

    name: ClassVar[str] = "rounding"
    stage: ClassVar[Any] = "architecture"
    summary: ClassVar[str] = "round"
    dials: ClassVar[tuple[Dial, ...]] = (Dial("width", "share", 0.2, 1.0, 1.0, "load"),)
    knobs: ClassVar[tuple[Knob, ...]] = (
        Knob("digits", "digits that are kept", 8, low=1),
        Knob("strength", "how strong", 0.0, low=0.0, high=2.0),
        Knob("floor_kind", "where to", "down", choices=("down", "up")),
    )

    @property
    def error_bound(self) -> float:
        return 0.1

    def convert(self, model: Any) -> Any:
        raise NotImplementedError

    @classmethod
    def restrictions(cls, target: Target) -> tuple[Restriction, ...]:
        return ()


def test_techniques_of_others_are_in_the_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue_module, "techniques", lambda: (TokenPruning, Rounding))
    space = made()

    assert space.axes[0].name == "width"
    assert space.axes[0].stage == "architecture"
    assert space.axis("width").values[0] == 0.2
    assert len(space.axis("strength").values) == 10
    assert space.axis("digits").values == (2, 4, 8, 16, 32)
    assert space.axis("floor_kind").values == ("down", "up")
    assert space.default["strength"] == 0.0


def test_a_name_that_two_techniques_claim_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue_module, "techniques", lambda: (TokenPruning, TokenPruning))
    with pytest.raises(SettingError, match="belongs to one technique. Given: 'tokens'"):
        catalogue()


def test_grids_are_even_and_hold_neutral() -> None:
    assert grid_between(0.0, 1.0, whole=False, open_low=True) == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    assert grid_between(1, 24, whole=True)[-1] == 24
    assert grid_between(2, 2, whole=True) == (2,)
    assert grid_around(5, 4, 100, whole=True) == (5, 10, 20)
    assert 0.37 in grid_of(Knob("k", "what", 0.37, low=0.0, high=1.0), 4)


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_restrictions_are_asked_of_each_technique(kind: str) -> None:
    target = Target(locate(tiny_model(kind, AutoModel)).family, "causal-lm")

    assert TokenPruning.restrictions(target) == ()
    assert bool(CachePrecision.restrictions(target)) == (kind == "bert")
    assert all(each.reason for each in Precision.restrictions(target))


def test_kinds_of_training_that_do_not_fit_are_found() -> None:
    assert "Conv1D" in unfit_kinds(tiny_model("gpt2", AutoModelForCausalLM))["qlora"]
    assert "tied" in unfit_kinds(tiny_model("gpt2", AutoModelForCausalLM))["frozen"]
    untied = tiny_model("llama", AutoModelForCausalLM, tie_word_embeddings=False)
    assert "frozen" not in unfit_kinds(untied)


def test_facts_are_read_without_the_weights(tmp_path: Path) -> None:
    tiny_model("bert", AutoModel).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing that can be read")
    facts = facts_of(str(tmp_path), "classification")

    assert (facts.type, facts.blocks, facts.trained) == ("bert", 4, False)
    assert "no head" in facts.unready
    with pytest.raises(RheostatError):
        facts_of(str(tmp_path / "none"), "classification")
    with pytest.raises(SettingError, match="supported family"):
        ModelFacts("bort", 4, "classification")


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        (("ham", "spam"), ""),
        (("0", "1"), ""),
        (None, ""),
        (("spam", "ham"), "its classes are Ham, Spam, in this order, and those of the data spam, ham"),
        (("0", "1", "2"), "those of the data 0, 1, 2"),
    ],
)
def test_a_classifier_that_was_tuned_elsewhere_is_run_as_it_is(
    tmp_path: Path, labels: tuple[str, ...] | None, why: str
) -> None:
    model = tiny_model("bert", AutoModelForSequenceClassification)
    model.config.id2label = {0: "Ham", 1: "Spam"}
    model.save_pretrained(tmp_path)
    facts = facts_of(str(tmp_path), "classification", labels=labels)

    assert why in facts.unready
    assert bool(why) == bool(facts.unready)
    space = made(facts)
    assert space.default["recipe"] == ("plain" if why else "none")
    assert why in reason(space, "recipe", "none")


def test_a_bundle_says_how_it_was_trained(tmp_path: Path) -> None:
    tiny_model("llama", AutoModelForCausalLM, tie_word_embeddings=True).save_pretrained(tmp_path)
    manifest = {"version": 1, "task": "causal-lm", "technique": {}, "max_length": 8, "files": {}}
    training = {"settings": {"recipe": {"recipe": "uniform"}}}
    (tmp_path / "bundle.json").write_text(json.dumps({**manifest, "training": training}), encoding="utf-8")
    facts = facts_of(str(tmp_path), "causal-lm")

    assert (facts.trained, facts.unready, facts.recipe, facts.unfit) == (True, "", "uniform", {})
    with pytest.raises(UnsupportedModelError, match="which does causal-lm, for classification"):
        facts_of(str(tmp_path), "classification")
