"""Configurations: flat mappings of knobs and dials, checked and put on a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from transformers import AutoModelForCausalLM

from rheostat.core.errors import RheostatError, SettingError
from rheostat.core.knob import Knob
from rheostat.models.low_precision import LowPrecisionLinear
from rheostat.techniques import (
    Precision,
    TokenPruning,
    checked_configuration,
    configuration,
    configure,
    neutral_configuration,
    techniques,
)
from rheostat.testing import tiny_model

IDS = torch.arange(3, 27)[None]


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RHEOSTAT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def model() -> Any:
    return tiny_model("llama", AutoModelForCausalLM)


def test_techniques_go_on_conversions_first_and_dials_are_turned() -> None:
    given = {"tokens": 0.5, "scorer": "mean", "floor": 7, "precision": "int8-weight", "backend": "torch-unpacked"}
    handle = configure(model(), given)
    assert handle.techniques == (
        Precision("int8-weight", backend="torch-unpacked"),
        TokenPruning(floor=7, scorer="mean"),
    )
    assert handle.technique == handle.techniques[1]
    assert handle.settings == {"tokens": 0.5}
    with torch.no_grad():
        handle.model(IDS)
    assert [len(block[0]) for block in handle.survivors()] == [12, 7, 7, 7]


def test_knobs_alone_attach_their_technique_at_neutral() -> None:
    handle = configure(model(), {"scorer": "last"})
    assert handle.techniques == (TokenPruning(scorer="last"),)
    assert handle.settings == {"tokens": 1.0}


def test_an_empty_configuration_attaches_the_token_dial() -> None:
    assert configure(model(), {}).techniques == (TokenPruning(),)


def test_conversions_alone_have_no_dials() -> None:
    handle = configure(model(), {"precision": "fp32"})
    assert handle.dials == ()
    assert handle.settings == handle.technique.neutral() == {}
    with handle.at():
        handle.model(IDS)
    handle.set()
    with pytest.raises(SettingError, match="names one of the dials"):
        handle.set(tokens=0.5)
    with pytest.raises(RheostatError, match="Survivors are known after a forward under pruning."):
        handle.survivors()
    assert handle.family.model_type == "llama"


def test_originals_are_freed_where_asked() -> None:
    worn = model()
    handle = configure(worn, {"precision": "int8-weight", "backend": "torch-unpacked"}, keep_originals=False)
    with pytest.raises(RheostatError, match="freed the original weights cannot be taken off"):
        handle.detach()
    assert any(isinstance(module, LowPrecisionLinear) for module in worn.modules())


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"token": 0.5}, "names knobs and dials .* Given: 'token'. Did you mean 'tokens'?"),
        ({"tokens": 1.5}, "The dial 'tokens' lies in"),
        ({"precision": "int9"}, "The knob 'precision' has one of its choices. .* Did you mean 'int8'?"),
        ({"floor": 0}, "The knob 'floor' lies in its range"),
        ({"scorer": None}, "The knob 'scorer'"),
        ({3: 4}, "names knobs and dials"),
    ],
)
def test_what_is_unfit_is_refused_and_nothing_is_attached(given: dict[Any, Any], text: str) -> None:
    worn = model()
    for call in (checked_configuration, lambda mapping: configure(worn, {"floor": 9, **mapping})):
        with pytest.raises(SettingError, match=text):
            call(given)
    assert type(worn.model).__name__ == "LlamaModel"
    assert not hasattr(type(worn.model), "_rheostat_worn")


def test_a_configuration_is_checked_value_by_value() -> None:
    assert checked_configuration({"tokens": 1, "floor": 3}) == {"tokens": 1.0, "floor": 3}
    assert checked_configuration({}) == {}


def test_neutral_of_everything_is_the_plain_model() -> None:
    names = [part.name for kind in techniques() for part in (*kind.knobs, *kind.dials)]
    neutral = neutral_configuration(names)
    assert neutral["precision"] == "fp32"
    plain = model()
    with torch.no_grad():
        expected = plain(IDS).logits
        configure(plain, neutral)
        assert torch.equal(plain(IDS).logits, expected)
    with pytest.raises(SettingError, match="Did you mean 'precision'"):
        neutral_configuration(["precisoin"])


def test_a_name_that_two_techniques_claim_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Other(Precision.__bases__[0]):  # type: ignore[misc, name-defined]
        name: ClassVar[str] = "other"
        knobs: ClassVar[tuple[Knob, ...]] = (Knob("floor", "something else", 1),)

    monkeypatch.setattr(configuration, "techniques", lambda: (TokenPruning, Other))
    assert checked_configuration({"tokens": 0.5}) == {"tokens": 0.5}
    with pytest.raises(SettingError, match="belongs to one technique. Given: 'floor', which 2"):
        checked_configuration({"floor": 3})
