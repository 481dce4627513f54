"""The cascade dial: unsure rows are read again, whole, together with the other dials; both readings are counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from rheostat.core.dial import Dial
from rheostat.core.errors import SettingError
from rheostat.core.exits import ExitRule
from rheostat.measure.model_cost import cost_of, forward_macs
from rheostat.models.families import Family, families, locate
from rheostat.techniques import Cascade, Exits, Handle, Rereading, attach, configure
from rheostat.techniques.contract import Again, Target
from rheostat.techniques.row_exits import classify_with_exits, exit_scores
from rheostat.testing import tiny_model
from rheostat.testing.conformance import REREADING_CHECKS, Check, Subject

LENGTHS = (20, 17, 14, 11, 8, 9)


def label(value: Any) -> str:
    return value.model_type if isinstance(value, Family) else str(value)


@pytest.fixture
def model() -> Any:
    return tiny_model("bert", AutoModelForSequenceClassification, num_labels=3).double()


@pytest.fixture
def worn(model: Any) -> Handle:
    return attach(model, "tokens", "depth", "cascade")


@pytest.fixture
def inputs() -> dict[str, torch.Tensor]:
    return batch()


def batch(side: str = "right") -> dict[str, torch.Tensor]:
    ids = torch.randint(3, 97, (6, 20), generator=torch.Generator().manual_seed(2))
    mask = torch.zeros_like(ids)
    for row, length in enumerate(LENGTHS):
        mask[row, slice(20 - length, 20) if side == "left" else slice(0, length)] = 1
    return {"input_ids": ids * mask, "attention_mask": mask}


def split(handle: Handle, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, float, torch.Tensor]:
    """Logits at the settings in force, a threshold that half the rows miss, and which those are."""
    with torch.no_grad():
        logits = handle.model(**inputs).logits
    sure = logits.float().softmax(-1).amax(-1)
    threshold = float(sure.sort().values[2:4].mean())
    return logits, threshold, sure < threshold


@pytest.mark.parametrize("check", REREADING_CHECKS, ids=lambda check: check.name)
@pytest.mark.parametrize("model_type", ["bert", "llama"])
def test_every_promise(check: Check, model_type: str) -> None:
    check.run(Subject(Cascade(), lambda: tiny_model(model_type, AutoModelForSequenceClassification, num_labels=3)))


# An encoder's positions start at the left.
@pytest.mark.parametrize(
    ("family", "side"),
    [(family, side) for family in families() for side in ("right", "left")[: 2 if family.kind == "decoder" else 1]],
    ids=label,
)
def test_unsure_rows_get_the_answer_of_the_whole_text(family: Family, side: str) -> None:
    model: Any = tiny_model(family.model_type, AutoModelForSequenceClassification, num_labels=3)
    handle, inputs = attach(model, "tokens", "depth", "cascade"), batch(side)
    with torch.no_grad(), handle.at(depth=3):
        whole = model(**inputs).logits
        with handle.at(tokens=0.4):
            first, threshold, unsure = split(handle, inputs)
            with handle.at(cascade=threshold):
                found = model(**inputs).logits
    assert unsure.sum() == 3
    torch.testing.assert_close(found[unsure], whole[unsure], atol=1e-5, rtol=1e-4)
    assert torch.equal(found[~unsure], first[~unsure])
    assert not torch.allclose(first[unsure], whole[unsure], atol=1e-4)


def test_nothing_is_read_twice_where_nothing_is_dropped(
    model: Any, worn: Handle, inputs: dict[str, torch.Tensor]
) -> None:
    with torch.no_grad():
        plain = model(**inputs).logits
        with worn.at(cascade=1.0):
            assert worn.again() is None
            assert torch.equal(model(**inputs).logits, plain)
            assert worn.last is None
        with worn.at(cascade=1.0, depth=2):
            found = model(**inputs).logits
        with worn.at(depth=2):
            assert torch.equal(model(**inputs).logits, found)
    assert Cascade().again({"tokens": 0.5, "cascade": 0.9}) == Again(0.9, {"tokens": 1.0})
    assert Cascade().again({"tokens": 1.0, "cascade": 0.9}) is None
    assert Cascade().again({"cascade": 0.9}) is None


def test_both_readings_are_counted(model: Any, worn: Handle, inputs: dict[str, torch.Tensor]) -> None:
    cost, lengths = cost_of(model), list(LENGTHS)
    with torch.no_grad(), worn.at(tokens=0.4):
        _, threshold, unsure = split(worn, inputs)
        first, survivors = forward_macs(cost, lengths, worn), worn.survivors()
        with worn.at(cascade=threshold):
            model(**inputs)
            both = forward_macs(cost, lengths, worn)
            for row, again in enumerate(unsure.tolist()):
                states = [block[row] for block in worn.survivors()]
                assert states == ([list(range(LENGTHS[row]))] * 4 if again else [block[row] for block in survivors])
                assert worn.entered()[row] == list(range(LENGTHS[row]))
        with worn.at(cascade=0.01):
            model(**inputs)
            assert forward_macs(cost, lengths, worn) == first
    with torch.no_grad():
        model(**inputs)
        assert worn.last is None
        whole = forward_macs(cost, [length for length, again in zip(lengths, unsure, strict=True) if again], worn)
    assert both == first + whole


@dataclass(frozen=True)
class Closer(Rereading):
    """A second reading that drops states, too."""

    name: ClassVar[str] = "closer"
    stage: ClassVar[Literal["inference"]] = "inference"
    summary: ClassVar[str] = "read again at another keep rate"
    dials: ClassVar[tuple[Dial, ...]] = Cascade.dials

    def again(self, settings: Mapping[str, float]) -> Again:
        return Again(settings["cascade"], {"tokens": 0.5})


def test_what_is_protected_goes_with_its_rows_into_the_second_reading(
    model: Any, inputs: dict[str, torch.Tensor]
) -> None:
    handle = attach(model, "tokens", Closer())
    protect = torch.zeros((6, 20), dtype=torch.bool)
    for row, length in enumerate(LENGTHS):
        protect[row, length - 4 : length] = True
    with torch.no_grad(), handle.at(tokens=0.3, protect=protect):
        first, threshold, unsure = split(handle, inputs)
        with handle.at(cascade=threshold):
            found, survivors = model(**inputs).logits, handle.survivors()
        with handle.at(tokens=0.5):
            second = model(**inputs).logits
    assert 0 < unsure.sum() < 6
    torch.testing.assert_close(found, torch.where(unsure[:, None], second, first))
    assert all({*range(length - 4, length)} <= {*survivors[-1][row]} for row, length in enumerate(LENGTHS))


def test_rows_leave_both_readings_by_the_dial_exit(model: Any, inputs: dict[str, torch.Tensor]) -> None:
    handle = attach(model, "tokens", "depth", "cascade", Exits(exit_every=1))
    with torch.no_grad():
        leave = float(exit_scores(handle, [1, 2], "confidence", **inputs).median())
        with handle.at(exit=leave):
            whole = model(**inputs).logits
            assert len({sum(bool(block[row]) for block in handle.survivors()) for row in range(6)}) > 1
            with handle.at(tokens=0.4):
                first, threshold, unsure = split(handle, inputs)
                with handle.at(cascade=threshold):
                    found = model(**inputs).logits
                    depths = [sum(bool(block[row]) for block in handle.survivors()) for row in range(6)]
    torch.testing.assert_close(found[unsure], whole[unsure])
    torch.testing.assert_close(found[~unsure], first[~unsure])
    assert min(depths) < 4


def test_rows_that_leave_by_a_rule_are_read_once(model: Any, worn: Handle, inputs: dict[str, torch.Tensor]) -> None:
    with worn.at(tokens=0.4, cascade=0.9), pytest.raises(SettingError, match="read once"):
        classify_with_exits(worn, ExitRule({2: 0.5}), **inputs)
    with worn.at(tokens=0.4, cascade=0.9), pytest.raises(SettingError, match="read once"):
        exit_scores(worn, [1, 2], "confidence", **inputs)


def test_in_low_precision(model: Any, inputs: dict[str, torch.Tensor]) -> None:
    handle = configure(model.float(), {"precision": "int8", "tokens": 0.4, "cascade": 1.0})
    with torch.no_grad():
        found = model(**inputs).logits
        with handle.at(tokens=1.0):
            assert torch.equal(model(**inputs).logits, found)
    handle.detach()
    assert type(model) is type(tiny_model("bert", AutoModelForSequenceClassification))


@pytest.mark.parametrize("more", [{"labels": torch.zeros(6, dtype=torch.long)}, {"output_hidden_states": True}])
def test_what_it_cannot_give_is_refused(
    model: Any, worn: Handle, inputs: dict[str, torch.Tensor], more: dict[str, Any]
) -> None:
    with worn.at(tokens=0.4, cascade=0.9), pytest.raises(SettingError, match=next(iter(more))):
        model(**inputs, **more)
    assert len(model(**inputs, **more)) > 1


def test_nothing_is_trained_by_it(model: Any, worn: Handle, inputs: dict[str, torch.Tensor]) -> None:
    model.train()
    with worn.at(tokens=0.4, cascade=0.9), pytest.raises(SettingError, match="training mode"):
        model(**inputs)
    with worn.at(tokens=0.4):
        assert model(**inputs).logits.requires_grad


@pytest.mark.parametrize(("model_type", "head"), [("bert", AutoModel), ("llama", AutoModelForCausalLM)])
def test_other_models_have_no_answers_to_doubt(model_type: str, head: Any) -> None:
    model = tiny_model(model_type, head)
    ids = torch.randint(3, 97, (2, 9), generator=torch.Generator().manual_seed(2))
    handle = attach(model, "tokens", "cascade")
    model(input_ids=ids)
    with handle.at(tokens=0.5, cascade=0.9), pytest.raises(SettingError, match="classifies"):
        model(input_ids=ids)
    family = locate(model).family
    assert Cascade.restrictions(Target(family, "classification")) == ()
    assert [each.name for each in Cascade.restrictions(Target(family, "causal-lm"))] == ["cascade"]  # type: ignore[union-attr]


def test_a_model_wears_one() -> None:
    model = tiny_model("bert", AutoModelForSequenceClassification)
    with pytest.raises(SettingError, match="reads rows again"):
        attach(model, Cascade(), Cascade())
    assert type(model) is type(tiny_model("bert", AutoModelForSequenceClassification))
