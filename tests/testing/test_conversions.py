"""Conversions pass the conformance suite, and every check finds its planted fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import pytest
import torch
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM

from rheostat.core.knob import Knob
from rheostat.models.families import Family, families
from rheostat.models.low_precision import LowPrecisionLinear, linear_weight
from rheostat.techniques import CachePrecision, Conversion, Converted, Precision
from rheostat.techniques.inference.precision import backends_of
from rheostat.testing import tiny_model
from rheostat.testing.conformance import CONVERSION_CHECKS, Check, Subject, check_technique

CHECK = {check.name: check for check in CONVERSION_CHECKS}


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RHEOSTAT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def label(value: Any) -> str:
    return value.model_type if isinstance(value, Family) else value.name


def maker(model_type: str) -> Callable[[], Any]:
    kind = next(family.kind for family in families() if family.model_type == model_type)
    return partial(tiny_model, model_type, AutoModelForCausalLM if kind == "decoder" else AutoModel)


def technique(precision: str) -> Precision:
    backend = next(each for each in backends_of(precision) if each.missing() is None and each.name[:5] == "torch")
    return Precision(precision, backend=backend.name)


@pytest.mark.parametrize("check", CONVERSION_CHECKS, ids=label)
@pytest.mark.parametrize("family", families(), ids=label)
def test_int8_keeps_every_promise_on_every_family(family: Family, check: Check) -> None:
    check.run(Subject(technique("int8"), maker(family.model_type)))


@pytest.mark.parametrize("model_type", ["gemma3_text", "bert"])
@pytest.mark.parametrize("precision", ["bf16", "fp16", "int8-weight", "int4"])
def test_every_precision_keeps_every_promise(precision: str, model_type: str) -> None:
    check_technique(technique(precision), maker(model_type))


DECODERS = [family for family in families() if family.kind == "decoder"]


@pytest.mark.parametrize("check", CONVERSION_CHECKS, ids=label)
@pytest.mark.parametrize("family", DECODERS, ids=label)
def test_an_int8_cache_keeps_every_promise_on_every_decoder(family: Family, check: Check) -> None:
    check.run(Subject(CachePrecision("int8"), maker(family.model_type)))


# Faults, each planted in a conversion that rounds weights to bfloat16 and is right apart from it.


class Rounded(LowPrecisionLinear):
    """A layer in bfloat16, and what a fault makes of its output."""

    def __init__(self, original: nn.Module, fault: Callable[[torch.Tensor, int], torch.Tensor] | None) -> None:
        super().__init__(original)
        self._weight, self._fault, self._calls = linear_weight(original).bfloat16().float(), fault, 0

    def compute(self, rows: torch.Tensor) -> torch.Tensor:
        self._calls += 1
        out = rows @ self._weight.t()
        return out if self._fault is None else self._fault(out, self._calls)

    def held_bytes(self) -> int:
        return self._weight.nbytes // 2


class Swapped(Converted):
    def __init__(self, model: nn.Module, fault: Callable[[torch.Tensor, int], torch.Tensor] | None) -> None:
        self.layers = [layer.mlp for layer in model.model.layers]
        self.originals = [mlp.up_proj for mlp in self.layers]
        for mlp in self.layers:
            mlp._modules["up_proj"] = Rounded(mlp.up_proj, fault)

    def take_off(self) -> None:
        for mlp, original in zip(self.layers, self.originals, strict=True):
            mlp._modules["up_proj"] = original

    def free(self) -> None:
        pass

    def check_kept(self) -> None:
        pass

    def report(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class Rounding(Conversion):
    bits: str = "32"
    fault: Callable[[torch.Tensor, int], torch.Tensor] | None = None

    name: ClassVar[str] = "rounding"
    stage: ClassVar[Literal["inference"]] = "inference"
    summary: ClassVar[str] = "breaks a promise"
    knobs: ClassVar[tuple[Knob, ...]] = (Knob("bits", "bits of a weight", "32", choices=("32", "16")),)
    error_bound = 0.02

    def convert(self, model: nn.Module) -> Converted:
        return Swapped(model, self.fault) if self.bits == "16" else Untouched()


class Untouched(Swapped):
    def __init__(self) -> None:
        self.layers, self.originals = [], []


class WithoutKnobs(Rounding):
    knobs = ()


class TakesAnything(Rounding):
    def __post_init__(self) -> None:
        pass


class ForgetsItsBits(Rounding):
    def to_json(self) -> dict[str, Any]:
        return {"name": self.name}


class ConvertsAtNeutral(Rounding):
    def convert(self, model: nn.Module) -> Converted:
        return Swapped(model, self.fault)


class StaysOn(Rounding):
    def convert(self, model: nn.Module) -> Converted:
        found = Swapped(model, self.fault)
        found.layers.pop(), found.originals.pop()
        return found


class LeavesAnAttribute(Rounding):
    def convert(self, model: nn.Module) -> Converted:
        model.bits = 16  # type: ignore[assignment]
        return Swapped(model, self.fault)


class SavesSomethingElse(Rounding):
    def convert(self, model: nn.Module) -> Converted:
        found = Swapped(model, self.fault)
        for mlp in found.layers:
            mlp.up_proj._original = (nn.Linear(32, 48, bias=False),)
        return found


def is_not_finite(out: torch.Tensor, calls: int) -> torch.Tensor:
    return out / 0


def is_far_off(out: torch.Tensor, calls: int) -> torch.Tensor:
    return 1.5 * out


def mixes_rows(out: torch.Tensor, calls: int) -> torch.Tensor:
    return out + out.mean(0)


def counts_calls(out: torch.Tensor, calls: int) -> torch.Tensor:
    return out * (1 + 0.3 * calls)


def needs_whole_rows(out: torch.Tensor, calls: int) -> torch.Tensor:
    if len(out) not in (3 * 21, 21, 13, 6):
        raise ValueError("not as many rows as before")
    return out


class BreaksGradients(Rounding):
    def convert(self, model: nn.Module) -> Converted:
        model.requires_grad_(False)
        return Untouched()


FAULTS = {
    "knobs": [WithoutKnobs("16"), TakesAnything("16")],
    "json": [ForgetsItsBits("16")],
    "neutral": [ConvertsAtNeutral("16")],
    "extremes": [Rounding("16", is_not_finite)],
    "bound": [Rounding("16", is_far_off), Rounding("16", is_not_finite)],
    "rows": [Rounding("16", mixes_rows)],
    "gradients": [BreaksGradients("16")],
    "generation": [Rounding("16", counts_calls)],
    "company": [Rounding("16", needs_whole_rows)],
    "residue": [Rounding("16", counts_calls)],
    "saving": [SavesSomethingElse("16")],
    "undoing": [StaysOn("16"), LeavesAnAttribute("16")],
    "detaching": [StaysOn("16"), LeavesAnAttribute("16")],
}


@pytest.mark.parametrize(("name", "faulty"), [(name, fault) for name, faults in FAULTS.items() for fault in faults])
def test_a_check_finds_a_faulty_conversion(name: str, faulty: Conversion) -> None:
    assert FAULTS.keys() == CHECK.keys()
    with pytest.raises(AssertionError, match=f"^{name}: {CHECK[name].promise} Seen: "):
        CHECK[name].run(Subject(faulty, maker("llama")))


def test_the_conversion_that_faults_are_planted_in_has_none_of_its_own() -> None:
    check_technique(Rounding("16"), maker("llama"))
