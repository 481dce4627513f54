"""The words dial: what a text's words say is added to the model's logits, at every reading and at every exit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pytest
import torch
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from rheostat.core.dial import Dial
from rheostat.core.errors import SettingError
from rheostat.core.exits import ExitRule
from rheostat.models.families import locate
from rheostat.models.words import set_words, word_logits, words_of
from rheostat.techniques import Adding, Exits, Words, attach, configure
from rheostat.techniques.contract import Target
from rheostat.techniques.row_exits import classify_with_exits, exit_scores
from rheostat.testing import tiny_model
from rheostat.testing.conformance import ADDING_CHECKS, Subject
from rheostat.testing.tiny import VOCABULARY

CHECK = {check.name: check for check in ADDING_CHECKS}


def knowing(model_type: str = "bert", head: Any = AutoModelForSequenceClassification) -> Any:
    model = tiny_model(model_type, head, num_labels=3)
    set_words(model, torch.rand(VOCABULARY + 1, 4, generator=torch.Generator().manual_seed(4)))
    return model


@pytest.fixture
def model() -> Any:
    return knowing().double()


@pytest.fixture
def inputs() -> dict[str, torch.Tensor]:
    ids = torch.randint(3, 97, (6, 20), generator=torch.Generator().manual_seed(2))
    mask = torch.arange(20)[None] < torch.tensor([20, 17, 14, 11, 8, 9])[:, None]
    return {"input_ids": ids * mask, "attention_mask": mask.long()}


def said(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    table = words_of(model)
    assert table is not None
    return word_logits(table, inputs["input_ids"], inputs["attention_mask"].bool())


@pytest.mark.parametrize("others", [{}, {"tokens": 0.4}, {"tokens": 0.4, "depth": 2}])
def test_logits_are_the_model_s_and_the_words(
    model: Any, inputs: dict[str, torch.Tensor], others: dict[str, float]
) -> None:
    handle = attach(model, "tokens", "depth", "words")
    with torch.no_grad(), handle.at(**others):
        without = model(**inputs).logits
        with handle.at(words=1.5):
            found = model(**inputs).logits
            as_tuple = model(**inputs, return_dict=False)
    torch.testing.assert_close(found, without + 1.5 * said(model, inputs).double())
    assert torch.equal(as_tuple[0], found)
    assert not torch.allclose(found, without)


def test_words_that_are_dropped_are_heard(model: Any, inputs: dict[str, torch.Tensor]) -> None:
    handle = attach(model, "tokens", "words")
    with torch.no_grad(), handle.at(tokens=0.3):
        without = model(**inputs).logits
        survivors = handle.survivors()[-1]
        with handle.at(words=1):
            found = model(**inputs).logits
        assert handle.survivors()[-1] == survivors
    assert len(survivors[0]) < 20
    torch.testing.assert_close(found - without, said(model, inputs).double())


def test_doubt_is_about_the_sum(model: Any, inputs: dict[str, torch.Tensor]) -> None:
    handle = attach(model, "tokens", "cascade", "words")
    with torch.no_grad(), handle.at(words=2):
        whole = model(**inputs).logits
        with handle.at(tokens=0.4):
            first = model(**inputs).logits
            sure = first.softmax(-1).amax(-1)
            with handle.at(cascade=float(sure.sort().values[2:4].mean())):
                found = model(**inputs).logits
    unsure = sure < sure.sort().values[3]
    torch.testing.assert_close(found, torch.where(unsure[:, None], whole, first))


def test_rows_leave_by_the_sum(model: Any, inputs: dict[str, torch.Tensor]) -> None:
    handle = attach(model, "depth", "words", Exits(exit_every=1))
    with torch.no_grad(), handle.at(words=2):
        scores = exit_scores(handle, [1, 2, 3], "confidence", **inputs)
        answers = []
        for depth in (1, 2, 3, 4):
            with handle.at(depth=depth):
                answers.append(model(**inputs).logits)
        threshold = float(scores[:, 0].median())
        with handle.at(exit=threshold):
            found = model(**inputs).logits
        by_rule = classify_with_exits(handle, ExitRule(dict.fromkeys((1, 2, 3), threshold)), **inputs)
    torch.testing.assert_close(scores[:, 1], answers[1].softmax(-1).amax(-1).float())
    for row in range(6):
        depth = next((at for at in range(3) if scores[row, at] >= threshold), 3)
        torch.testing.assert_close(found[row], answers[depth][row])
    torch.testing.assert_close(by_rule.logits, found)
    assert len(by_rule.depths.unique()) > 1


def test_in_low_precision_and_off_again(model: Any, inputs: dict[str, torch.Tensor]) -> None:
    model.float()
    with torch.no_grad():
        plain = model(**inputs).logits
        handle = configure(model, {"precision": "int8", "words": 1.0})
        found = model(**inputs).logits
        with handle.at(words=0):
            torch.testing.assert_close(found, model(**inputs).logits + said(model, inputs))
        handle.detach()
        assert torch.equal(model(**inputs).logits, plain)
    assert type(model) is type(tiny_model("bert", AutoModelForSequenceClassification))


def test_half_precision_stays_what_it_is(inputs: dict[str, torch.Tensor]) -> None:
    model = knowing().to(torch.bfloat16)
    handle = attach(model, "words")
    with torch.no_grad(), handle.at(words=1):
        assert model(**inputs).logits.dtype == torch.bfloat16


def test_without_a_table_or_ids_it_says_what_to_do(inputs: dict[str, torch.Tensor]) -> None:
    model = knowing()
    handle = attach(model, "words")
    embedded = model.get_input_embeddings()(inputs["input_ids"]).detach()
    with torch.no_grad(), handle.at(words=1), pytest.raises(SettingError, match="inputs_embeds"):
        model(inputs_embeds=embedded, attention_mask=inputs["attention_mask"])
    set_words(model, None)
    assert model(**inputs).logits.shape == (6, 3)
    with handle.at(words=1), pytest.raises(SettingError, match="a model without such a table"):
        model(**inputs)


def test_nothing_is_trained_by_it(model: Any, inputs: dict[str, torch.Tensor]) -> None:
    handle = attach(model, "words")
    labels = torch.zeros(6, dtype=torch.long)
    with handle.at(words=1), pytest.raises(SettingError, match="labels"):
        model(**inputs, labels=labels)
    model.train()
    with handle.at(words=1), pytest.raises(SettingError, match="training mode"):
        model(**inputs)
    assert model(**inputs, labels=labels).loss.requires_grad


@pytest.mark.parametrize(("model_type", "head"), [("bert", AutoModel), ("llama", AutoModelForCausalLM)])
def test_other_models_have_no_labels(model_type: str, head: Any) -> None:
    model = tiny_model(model_type, head)
    handle = attach(model, "words")
    ids = torch.randint(3, 97, (2, 9), generator=torch.Generator().manual_seed(2))
    with handle.at(words=1), pytest.raises(SettingError, match="classifies"):
        model(input_ids=ids)
    family = locate(model).family
    assert Words.restrictions(Target(family, "classification")) == ()
    for target in (Target(family, "causal-lm"), Target(family, "classification", words=False)):
        assert [each.name for each in Words.restrictions(target)] == ["words"]  # type: ignore[union-attr]


def test_a_model_wears_one() -> None:
    with pytest.raises(SettingError, match="adds to logits"):
        attach(knowing(), Words(), Words())


@dataclass(frozen=True)
class Faulty(Adding):
    """Adds what is asked for."""

    fault: str = ""
    name: ClassVar[str] = "faulty"
    stage: ClassVar[Literal["inference"]] = "inference"
    summary: ClassVar[str] = "adds to logits"
    dials: ClassVar[tuple[Dial, ...]] = (Dial("more", "times", 0.0, 2.0, neutral=0.0, moves="request"),)

    def added(self, settings: Mapping[str, float], model: nn.Module, inputs: Mapping[str, Any]) -> torch.Tensor:
        found: torch.Tensor = settings["more"] * Words().added({"words": 1.0}, model, inputs)
        if self.fault == "rows":
            return found - found.mean(0)
        if self.fault == "sums":
            # What it adds grows from call to call.
            vars(model)["calls"] = vars(model).get("calls", 0) + 1
            return found * vars(model)["calls"]
        return found


def test_the_technique_that_faults_are_planted_in_has_none_of_its_own() -> None:
    for check in ADDING_CHECKS:
        check.run(Subject(Faulty(), knowing))


@pytest.mark.parametrize("name", ["rows", "sums"])
def test_a_check_finds_its_fault(name: str) -> None:
    with pytest.raises(AssertionError, match=name):
        CHECK[name].run(Subject(Faulty(name), knowing))
