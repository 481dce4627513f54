"""Conversions pass the conformance suite, and every check finds its planted fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from transformers import AutoModel, AutoModelForCausalLM

from rheostat.core.knob import Knob
from rheostat.models.families import Family, families
from rheostat.techniques import Precision
from rheostat.techniques.inference.precision import backends_of
from rheostat.testing import tiny_model
from rheostat.testing.conformance import CONVERSION_CHECKS, Check, Subject, check_technique

CHECK = {check.name: check for check in CONVERSION_CHECKS}
KNOB = Knob("shift", "what is added", 0.0)


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
