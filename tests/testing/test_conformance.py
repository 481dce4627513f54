"""Every registered technique passes the conformance suite on every family, and every check finds its planted fault."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from rheostat.core.dial import Dial
from rheostat.models import families as families_module
from rheostat.models.families import Family, families
from rheostat.models.flow import Cut
from rheostat.models.salience import set_salience
from rheostat.models.scoring import Attended, Scorer
from rheostat.models.words import set_words
from rheostat.techniques import (
    Adding,
    Cutting,
    Depth,
    Leaving,
    Rereading,
    Shortening,
    Technique,
    TokenPruning,
    techniques,
)
from rheostat.testing import tiny_model
from rheostat.testing.conformance import CHECKS, Check, Subject, check_family, check_technique, checks_of
from rheostat.testing.reference import column_sum
from rheostat.testing.tiny import VOCABULARY

SCORES = {TokenPruning: column_sum}
CHECK = {check.name: check for check in CHECKS}


def label(value: Any) -> str:
    return value.model_type if isinstance(value, Family) else value.name


def with_words(model_type: str) -> Any:
    """Return a classifier that knows what words say."""
    model: Any = tiny_model(model_type, AutoModelForSequenceClassification, num_labels=3)
    set_words(model, torch.rand(VOCABULARY + 1, 4, generator=torch.Generator().manual_seed(4)))
    return model


@pytest.mark.parametrize("family", families(), ids=label)
@pytest.mark.parametrize(
    ("technique", "check"), [(kind, check) for kind in techniques() for check in checks_of(kind())], ids=label
)
def test_every_technique_keeps_every_promise_on_every_family(
    technique: type[Technique], family: Family, check: Check
) -> None:
    head: Any = AutoModelForCausalLM if family.kind == "decoder" else AutoModel
    make: Callable[[], Any] = partial(tiny_model, family.model_type, head)
    if issubclass(technique, Leaving | Rereading):
        make = partial(tiny_model, family.model_type, AutoModelForSequenceClassification)
    if issubclass(technique, Adding):
        make = partial(with_words, family.model_type)
    check.run(Subject(technique(), make, SCORES.get(technique)))


@pytest.mark.parametrize("scorer", ["mean", "last", "window", "recency", "first"])
def test_every_scorer_keeps_every_promise(scorer: str) -> None:
    check_technique(TokenPruning(scorer=scorer), partial(tiny_model, "llama", AutoModelForCausalLM))


@pytest.mark.parametrize("decay", [0.0, 0.4, 1.5])
def test_every_decay_keeps_every_promise(decay: float) -> None:
    for kind, head in (("bert", AutoModel), ("qwen3", AutoModelForCausalLM)):
        check_technique(TokenPruning(decay=decay), partial(tiny_model, kind, head), score=column_sum)


@pytest.mark.parametrize("entry", [0.5, 1.0])
@pytest.mark.parametrize(("kind", "head"), [("bert", AutoModel), ("qwen3", AutoModelForCausalLM)])
def test_every_entry_keeps_every_promise(entry: float, kind: str, head: Any) -> None:
    check_technique(TokenPruning(entry=entry), partial(_telling_model, kind, head), score=column_sum)
    check_technique(TokenPruning(entry=entry, entry_scorer="ends"), partial(tiny_model, kind, head), score=column_sum)


@pytest.mark.parametrize("family", families(), ids=label)
def test_an_entry_gives_on_every_family_what_the_reference_gives(family: Family) -> None:
    head: Any = AutoModelForCausalLM if family.kind == "decoder" else AutoModel
    for name in ("rows", "reference", "training"):
        for by in ("salience", "ends"):
            dial = TokenPruning(entry=0.6, entry_scorer=by)
            CHECK[name].run(Subject(dial, partial(_telling_model, family.model_type, head), column_sum))


def _telling_model(kind: str, head: Any) -> Any:
    model = tiny_model(kind, head)
    table = torch.rand(VOCABULARY, generator=torch.Generator().manual_seed(0))
    table[3] = torch.inf
    set_salience(model, table)
    return model


# Faults, each planted in a technique that is token pruning apart from it.


@dataclass(frozen=True)
class Pruning(Cutting):
    """Token pruning that a fault can be planted in."""

    name: ClassVar[str] = "faulty"
    stage: ClassVar[Literal["inference"]] = "inference"
    summary: ClassVar[str] = "breaks a promise"
    dials: ClassVar[tuple[Dial, ...]] = TokenPruning.dials

    def cut(self, settings: Mapping[str, float], *, decoder: bool, marked: torch.Tensor | None = None) -> Cut:
        return TokenPruning().cut(settings, decoder=decoder, marked=marked)


class NeutralOutOfRange(Pruning):
    dials = (replace(TokenPruning.dials[0], neutral=2.0),)


class DialsWithoutName(Pruning):
    dials = TokenPruning.dials * 2


@dataclass(frozen=True)
class ForgetsItsFloor(Pruning):
    floor: int = 5

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name}


class FailsAtTheEnd(Pruning):
    def cut(self, settings: Mapping[str, float], *, decoder: bool, marked: torch.Tensor | None = None) -> Cut:
        if settings["tokens"] < 0.1:
            raise ZeroDivisionError("nothing is left")
        return super().cut(settings, decoder=decoder, marked=marked)


class OnlyClaimsToDrop(Pruning):
    def cut(self, settings: Mapping[str, float], *, decoder: bool, marked: torch.Tensor | None = None) -> Cut:
        return replace(super().cut(settings, decoder=decoder, marked=marked), rate=1.0)


class TurnsTheWrongWay(Pruning):
    def cut(self, settings: Mapping[str, float], *, decoder: bool, marked: torch.Tensor | None = None) -> Cut:
        cut = super().cut(settings, decoder=decoder, marked=marked)
        return replace(cut, rate=cut.rate if cut.rate < 0.1 else 1.0 - 0.9 * cut.rate)


class DropsMoreEachTime(Pruning):
    calls: ClassVar[list[None]] = []

    def cut(self, settings: Mapping[str, float], *, decoder: bool, marked: torch.Tensor | None = None) -> Cut:
        self.calls.append(None)
        cut = super().cut(settings, decoder=decoder, marked=marked)
        return replace(cut, rate=cut.rate * 0.9 ** len(self.calls))


@dataclass(frozen=True)
class Running(Shortening):
    """The depth dial, for a fault to be planted in."""

    name: ClassVar[str] = "faulty"
    stage: ClassVar[Literal["inference"]] = "inference"
    summary: ClassVar[str] = "breaks a promise"
    dials: ClassVar[tuple[Dial, ...]] = Depth.dials

    def depth(self, settings: Mapping[str, float]) -> int:
        return Depth().depth(settings)


class OnlyClaimsToShorten(Running):
    def depth(self, settings: Mapping[str, float]) -> int:
        return 4


class TurnsDepthTheWrongWay(Running):
    def depth(self, settings: Mapping[str, float]) -> int:
        return 4 - int(settings["depth"])


class RunsMoreBlocksThanThereAre(Running):
    def depth(self, settings: Mapping[str, float]) -> int:
        return 5


class RunsFewerEachTime(Running):
    calls: ClassVar[list[None]] = []

    def depth(self, settings: Mapping[str, float]) -> int:
        self.calls.append(None)
        return 1 + len(self.calls) % 3


@dataclass(frozen=True)
class Scored(Pruning):
    """Ranks states by a function of what is known about them."""

    rank: Callable[[Attended], torch.Tensor] = lambda attended: attended.received

    def cut(self, settings: Mapping[str, float], *, decoder: bool, marked: torch.Tensor | None = None) -> Cut:
        cut = super().cut(settings, decoder=decoder, marked=marked)
        return replace(cut, scorer=Ranked(self.rank))


@dataclass(frozen=True)
class Ranked(Scorer):
    rank: Callable[[Attended], torch.Tensor]
    name: ClassVar[str] = "faulty"
    summary: ClassVar[str] = "breaks a promise"
    queries: ClassVar[Literal["all"]] = "all"

    def score(self, attended: Attended) -> torch.Tensor:
        return self.rank(attended)


def reads_its_neighbour(attended: Attended) -> torch.Tensor:
    return attended.received * attended.received.roll(1, 0)


def reads_the_column(attended: Attended) -> torch.Tensor:
    return (attended.columns * 7 % 5).double()


def is_upside_down(attended: Attended) -> torch.Tensor:
    return -attended.received


def differs_in_training(attended: Attended) -> torch.Tensor:
    return -attended.received if torch.is_grad_enabled() else attended.received


FAULTS = {
    "dials": [NeutralOutOfRange(), DialsWithoutName()],
    "json": [ForgetsItsFloor(floor=9)],
    "extremes": [FailsAtTheEnd(), RunsMoreBlocksThanThereAre()],
    "cost": [OnlyClaimsToDrop(), TurnsTheWrongWay(), OnlyClaimsToShorten(), TurnsDepthTheWrongWay()],
    "rows": [Scored(reads_its_neighbour), Scored(reads_the_column)],
    "reference": [Scored(is_upside_down)],
    "training": [Scored(differs_in_training)],
    "generation": [DropsMoreEachTime(), Scored(reads_its_neighbour)],
    "residue": [DropsMoreEachTime(), RunsFewerEachTime()],
}


@pytest.mark.parametrize(("name", "faulty"), [(name, fault) for name, faults in FAULTS.items() for fault in faults])
def test_a_check_finds_a_faulty_technique(name: str, faulty: Technique) -> None:
    DropsMoreEachTime.calls.clear()
    subject = Subject(faulty, partial(tiny_model, "llama", AutoModelForCausalLM), column_sum)
    with pytest.raises(AssertionError, match=f"^{name}: {CHECK[name].promise} Seen: "):
        CHECK[name].run(subject)


def test_the_technique_that_faults_are_planted_in_has_none_of_its_own() -> None:
    check_technique(Pruning(), partial(tiny_model, "llama", AutoModelForCausalLM), score=column_sum)
    check_technique(Running(), partial(tiny_model, "llama", AutoModelForCausalLM))
    for check in CHECKS:
        if check.name != "json":  # A function is no JSON.
            check.run(Subject(Scored(), partial(tiny_model, "bert"), column_sum))


@dataclass(frozen=True)
class Meddling(Pruning):
    """Does something to the model, which no technique may touch beside `attach`."""

    models: list[Any]
    meddle: Callable[[Any], Any]

    def cut(self, settings: Mapping[str, float], *, decoder: bool, marked: torch.Tensor | None = None) -> Cut:
        self.meddle(self.models[-1])
        return super().cut(settings, decoder=decoder, marked=marked)


def writes_the_configuration(model: Any) -> None:
    model.config.keep_rate = 0.5


def sets_an_attribute(model: Any) -> None:
    model.model.keep_rate = 0.5


def replaces_a_parameter(model: Any) -> None:
    model.model.norm.weight = torch.nn.Parameter(model.model.norm.weight.detach().clone())


def leaves_a_hook(model: Any) -> None:
    model.register_forward_hook(lambda module, args, output: None)


def changes_a_weight(model: Any) -> None:
    model.model.norm.weight.data *= 1.01


@pytest.mark.parametrize(
    ("name", "meddle"),
    [
        ("neutral", changes_a_weight),
        ("saving", writes_the_configuration),
        ("saving", changes_a_weight),
        *[("detaching", meddle) for meddle in (sets_an_attribute, replaces_a_parameter, leaves_a_hook)],
        *[("detaching", meddle) for meddle in (writes_the_configuration, changes_a_weight)],
    ],
)
def test_a_check_finds_what_was_done_to_the_model(name: str, meddle: Callable[[Any], Any]) -> None:
    models: list[Any] = []

    def make_model() -> Any:
        models.append(tiny_model("llama", AutoModelForCausalLM))
        return models[-1]

    with pytest.raises(AssertionError, match=f"^{name}: "):
        CHECK[name].run(Subject(Meddling(models, meddle), make_model))


@pytest.mark.parametrize(
    ("model_type", "wrong"),
    [
        ("llama", {"before_attention": "post_attention_layernorm"}),
        ("llama", {"before_feed_forward": "input_layernorm"}),
        ("gemma2", {"after_feed_forward": None}),
        ("distilbert", {"after_attention": "output_layer_norm"}),
        ("gpt2", {"before_attention": "ln_2"}),
    ],
)
def test_a_check_finds_a_wrong_layout(model_type: str, wrong: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(family: Family) -> Family:
        return replace(family, layout=replace(family.layout, **wrong)) if family.model_type == model_type else family

    monkeypatch.setattr(families_module, "_FAMILIES", tuple(map(changed, families())))
    make_model = partial(tiny_model, model_type)
    with pytest.raises(AssertionError, match=r"^layout: .* Seen: another output, although every state was kept\.$"):
        CHECK["layout"].run(Subject(TokenPruning(), make_model))
    with pytest.raises(AssertionError):
        check_family(make_model)


def test_a_family_that_is_right_passes() -> None:
    check_family(partial(tiny_model, "qwen3", AutoModelForCausalLM))
