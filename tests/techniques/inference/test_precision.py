"""Precision: what is converted, what is left, what is reported; and each backend against float32."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification
from transformers.pytorch_utils import Conv1D

from rheostat.core.errors import RheostatError, SettingError, UnsupportedModelError
from rheostat.measure.model_cost import cost_of
from rheostat.models.low_precision import LowPrecisionLinear, weight_bytes
from rheostat.techniques import Precision, TokenPruning, attach
from rheostat.techniques.inference import precision as precision_module
from rheostat.techniques.inference import probe as probe_module
from rheostat.techniques.inference import torch_int8
from rheostat.techniques.inference.precision import PRECISIONS, backends_of
from rheostat.techniques.inference.probe import Candidate, probe
from rheostat.testing import tiny_model

IDS = torch.arange(3, 27)[None]
ALL = [backend for name in PRECISIONS for backend in backends_of(name)]
LIMITS = {"bf16": 0.005, "fp16": 0.001, "int8": 0.02, "int8-weight": 0.015, "int4": 0.12}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RHEOSTAT_CACHE", str(tmp_path))
    return tmp_path / "precision"


def plain_int8() -> Precision:
    return Precision("int8", backend="torch-int-mm")


def converted(model: nn.Module) -> list[LowPrecisionLinear]:
    return [module for module in model.modules() if isinstance(module, LowPrecisionLinear)]


@pytest.mark.parametrize("kind", ["linear", "bare", "conv1d"])
@pytest.mark.parametrize("backend", ALL, ids=lambda backend: f"{backend.precision}-{backend.name}")
def test_a_backend_computes_the_layer_within_its_error(backend: Any, kind: str) -> None:
    if backend.missing() is not None:
        pytest.skip(backend.missing())
    torch.manual_seed(0)
    layer = Conv1D(96, 64) if kind == "conv1d" else nn.Linear(64, 96, bias=kind == "linear")
    nn.init.normal_(layer.weight)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        made = backend.convert(layer)
        for rows in (1, 41):
            given = torch.randn(rows, 64)
            plain, found = layer(given), made(given)
            assert (found - plain).norm() / plain.norm() < LIMITS[backend.precision]
        if backend.exact_rows:
            given = torch.randn(40, 64) * torch.logspace(-2, 2, 40)[:, None]
            torch.testing.assert_close(made(given)[:20], made(given[:20]), rtol=0.02, atol=1e-5)
    share = {"int8": 0.3, "int8-weight": 0.3, "int4": 0.3}.get(backend.precision, 0.55)
    assert made.held_bytes() <= share * 4 * 64 * 96 + 4 * 96


def test_unpacked_weights_meet_few_numbers_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bf16 every number of rows costs a kernel: from 64 to 512 rows there are three octaves of eight."""
    (backend,) = (each for each in backends_of("int8-weight") if each.name == "torch-unpacked")
    made = backend.convert(nn.Linear(32, 16))
    made._type = torch.bfloat16
    seen = set()
    original = nn.functional.linear
    monkeypatch.setattr(nn.functional, "linear", lambda rows, weight: seen.add(len(rows)) or original(rows, weight))
    for count in range(64, 513):
        assert made(torch.ones(count, 32)).shape == (count, 16)
    assert 20 <= len(seen) <= 25
    assert max(seen) == 512


@pytest.mark.parametrize("engine", [each for each in backends_of("int8") if each.name != "torch-int-mm"])
def test_int8_keeps_the_bound_that_rounding_gives(engine: Any) -> None:
    if engine.missing() is not None or engine.packages:
        pytest.skip("not here")
    torch.manual_seed(1)
    layer, given = nn.Linear(128, 32, bias=False), torch.randn(17, 128)
    with torch.no_grad():
        error = (engine.convert(layer)(given) - layer(given)).abs()
        weight_step = layer.weight.abs().amax(1) / 127
        # One step of 7 bits: some engines leave a bit out.
        widest = 2 * given.abs().amax(1, keepdim=True) if engine.by_row else given.max() - given.min()
        given_step = widest / 127
        rounded = given.abs() + given_step / 2
        bound = given_step / 2 * layer.weight.abs().sum(1) + weight_step / 2 * rounded.sum(1, keepdim=True)
    assert bool((error <= bound * 1.001).all())
    assert float(error.max()) > 0.0


@pytest.mark.parametrize("backend", backends_of("int8"), ids=lambda backend: backend.name)
def test_a_row_much_larger_than_the_others_costs_them_nothing_by_row(backend: Any) -> None:
    if backend.missing() is not None:
        pytest.skip(backend.missing())
    torch.manual_seed(2)
    layer, given = nn.Linear(64, 96), torch.randn(24, 64)
    given[0] *= 200.0
    with torch.no_grad():
        plain, found = layer(given)[1:], backend.convert(layer)(given)[1:]
    error = float((found - plain).norm() / plain.norm())
    assert error < 0.03 if backend.by_row else error > 0.3


def test_a_decoder_is_rounded_row_by_row_and_an_encoder_as_is_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def probed(layers: Any, backends: Any, bound: float) -> Any:
        asked.append({each.name for each in backends})
        return probe_module.Probe((Candidate("torch-int-mm", {"1": 1.0, "64": 1.0, "2048": 1.0}, 0.01),))

    monkeypatch.setattr(precision_module, "probe", probed)
    by_row = {each.name for each in backends_of("int8") if each.by_row}
    for name, kind in (("gpt2", AutoModelForCausalLM), ("bert", AutoModelForSequenceClassification)):
        attach(tiny_model(name, kind), Precision("int8"))
    assert asked == [by_row, {each.name for each in backends_of("int8")}]
    assert {"torch-x86", "torch-onednn"} & by_row == set()
    # Who names a backend gets it.
    attach(tiny_model("gpt2", AutoModelForCausalLM), plain_int8())
    assert asked[-1] == {"torch-int-mm"}


def test_what_is_left_is_reported_with_the_reason() -> None:
    model = tiny_model("gpt2", AutoModelForCausalLM)
    handle = attach(model, plain_int8())
    found = handle.report()[0]
    assert found["left"] == {"lm_head": "tied to the embeddings"}
    assert found["layers"] == len(converted(model)) == 16
    assert found["backend"] == "torch-int-mm"
    assert set(found["ratios"]) == {"1", "64", "2048"}
    assert found["slower"] == [rows for rows, ratio in found["ratios"].items() if ratio < 1]
    assert found["weight_bytes"] == weight_bytes(model) < found["weight_bytes_before"]
    json.dumps(found)
    classifier = tiny_model("bert", AutoModelForSequenceClassification)
    assert attach(classifier, plain_int8()).report()[0]["left"] == {"classifier": "fewer than 16 outputs"}


def test_layers_that_a_backend_cannot_do_are_left() -> None:
    model = tiny_model("bert")
    found = attach(model, Precision("int4", backend="torch-unpacked")).report()[0]
    # Its inner size of 48 is no whole number of groups.
    assert set(found["left"].values()) == {"of a size that torch-unpacked cannot do"}
    assert all(name.endswith("output.dense") and "attention" not in name for name in found["left"])


def test_hooked_layers_stay_as_they_are() -> None:
    model = tiny_model("bert")
    heard: list[int] = []
    model.encoder.layer[0].intermediate.dense.register_forward_hook(lambda *_: heard.append(1))
    handle = attach(model, plain_int8())
    assert handle.report()[0]["left"] == {"encoder.layer.0.intermediate.dense": "has hooks of its own"}
    model(IDS)
    assert heard == [1]


def test_the_cost_of_a_model_is_counted_as_before() -> None:
    model = tiny_model("llama", AutoModelForCausalLM)
    before = cost_of(model)
    with_handle = attach(model, plain_int8(), "tokens")
    assert cost_of(model) == before
    with_handle.detach()


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_originals_are_kept_or_freed(precision: str) -> None:
    backend = {"bf16": "torch-model", "int8": "torch-int-mm"}[precision]
    model = tiny_model("llama", AutoModelForCausalLM)
    with torch.no_grad():
        expected = model(IDS).logits
    weight = model.model.layers[0].mlp.up_proj.weight
    address = weight.data_ptr()
    handle = attach(model, Precision(precision, backend=backend))
    handle.detach()
    assert model.model.layers[0].mlp.up_proj.weight is weight
    assert weight.data_ptr() == address
    with torch.no_grad():
        assert torch.equal(model(IDS).logits, expected)
    handle = attach(model, Precision(precision, backend=backend, keep_originals=False), TokenPruning())
    assert handle.report()[0]["originals_kept"] is False
    with pytest.raises(RheostatError, match="cannot be taken off. Given: keep_originals=False. Load the model again"):
        handle.detach()
    with torch.no_grad(), handle.at(tokens=0.5):
        model(IDS)
    if precision == "int8":
        assert all(layer._original == () for layer in converted(model))


def test_a_model_is_converted_once() -> None:
    model = tiny_model("bert")
    attach(model, plain_int8())
    with pytest.raises(SettingError, match="A model is put in low precision once."):
        attach(model, plain_int8())


def test_a_model_in_another_type_is_refused_and_neutral_takes_it() -> None:
    model = tiny_model("bert").bfloat16()
    with pytest.raises(UnsupportedModelError, match="starts from a model in float32. Given: torch.bfloat16."):
        attach(model, plain_int8())
    attach(model, Precision("fp32")).detach()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"precision": "int3"}, "Did you mean 'int8'|Did you mean 'int4'"),
        ({"precision": None}, "has one of its choices"),
        ({"backend": "torch"}, "Did you mean 'torch"),
    ],
)
def test_unfit_settings_are_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingError, match=text):
        Precision(**settings)


def test_a_backend_of_another_precision_is_refused() -> None:
    with pytest.raises(SettingError, match="A backend computes in the precision that is asked for, int8."):
        attach(tiny_model("bert"), Precision("int8", backend="torch-packed"))


def test_two_of_a_kind_are_refused_and_the_model_stays_plain() -> None:
    model = tiny_model("bert")
    for pair in ((plain_int8(), Precision("fp32")), (TokenPruning(), TokenPruning(floor=9))):
        with pytest.raises(SettingError, match="A model wears each technique once, and at most one each"):
            attach(model, *pair)
    assert not converted(model)


def test_what_fails_on_the_way_leaves_the_model_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("bert")
    backend = next(each for each in backends_of("int8") if each.name == "torch-int-mm")
    calls: list[nn.Module] = []

    class Failing(type(backend)):  # type: ignore[misc]
        def convert(self, original: nn.Module) -> LowPrecisionLinear:
            calls.append(original)
            if len(calls) > 8:
                raise MemoryError
            return super().convert(original)

    broken = Failing(**{name: getattr(backend, name) for name in ("name", "precision")})
    monkeypatch.setattr(precision_module, "backends_of", lambda _: (broken,))
    with pytest.raises(MemoryError):
        attach(model, Precision("int8", backend="torch-int-mm"), "tokens")
    assert not converted(model)
    assert not hasattr(type(model), "_rheostat_worn")


def test_timing_is_remembered(cache: Path) -> None:
    first = attach(tiny_model("bert"), plain_int8()).report()[0]
    again = attach(tiny_model("bert"), plain_int8()).report()[0]
    assert (first["remembered"], again["remembered"]) == (False, True)
    assert again["ratios"] == first["ratios"]
    (file,) = cache.iterdir()
    file.write_text("{")
    assert attach(tiny_model("bert"), plain_int8()).report()[0]["remembered"] is False
    assert attach(tiny_model("bert", hidden_size=64), plain_int8()).report()[0]["remembered"] is False


def test_a_cache_that_cannot_be_written_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("RHEOSTAT_CACHE", str(file))
    for _ in range(2):
        assert attach(tiny_model("bert"), plain_int8()).report()[0]["remembered"] is False


def test_the_fastest_that_is_right_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [
        Candidate("wrong", {"1": 9.0, "64": 9.0, "2048": 9.0}, 0.5, "its relative error of 0.5 is above 0.03"),
        Candidate("steady", {"1": 1.1, "64": 1.1, "2048": 1.1}, 0.01),
        Candidate("fast", {"1": 0.9, "64": 4.0, "2048": 2.0}, 0.01),
        Candidate("missing", unusable="not installed"),
    ]
    monkeypatch.setattr(probe_module, "_timed", lambda *_: list(made))
    found = probe([nn.Linear(32, 32)], backends_of("int8")[:1], 0.03)
    assert [candidate.name for candidate in found.candidates][:2] == ["fast", "steady"]
    assert found.candidates[0].score() == pytest.approx((0.9 * 4.0 * 2.0) ** (1 / 3))
    assert found.of("missing").score() == found.of("wrong").score() == 0.0
    assert found.best((1,)).name == "steady"
    assert found.best((64, 2048)).name == "fast"


def test_a_library_that_fails_or_is_wrong_is_not_usable() -> None:
    backend = next(each for each in backends_of("int8") if each.name == "torch-int-mm")

    class Raising(type(backend)):  # type: ignore[misc]
        def convert(self, original: nn.Module) -> LowPrecisionLinear:
            raise OSError("libsomething.so: not found")

    class Wrong(type(backend)):  # type: ignore[misc]
        def convert(self, original: nn.Module) -> LowPrecisionLinear:
            other = nn.Linear(original.in_features, original.out_features)  # type: ignore[arg-type]
            return super().convert(other)

    raising, wrong = Raising("raising", "int8"), Wrong("wrong", "int8")
    found = probe([nn.Linear(32, 32)], (raising, wrong, backend), 0.03)
    assert found.candidates[0].name == "torch-int-mm"
    assert found.of("raising").unusable == "OSError: libsomething.so: not found"
    assert "relative error" in str(found.of("wrong").unusable)
    with pytest.raises(UnsupportedModelError, match="needs a library .* raising: OSError"):
        precision_module._best(replace(found, candidates=(found.of("raising"),)), (raising,), (1,))


def test_slower_than_plain_is_applied_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = probe_module.Probe((Candidate("torch-int-mm", {"1": 0.25, "64": 2.0, "2048": 2.0}, 0.01),))
    monkeypatch.setattr(precision_module, "probe", lambda *_: slow)
    model = tiny_model("bert")
    assert attach(model, Precision("int8")).report()[0]["slower"] == ["1"]
    assert converted(model)


def test_bf16_keeps_buffers_and_positions() -> None:
    model = tiny_model("llama", AutoModelForCausalLM)
    attach(model, Precision("bf16", backend="torch-model"))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model.model.rotary_emb.inv_freq.dtype == torch.float32
    assert model(IDS).logits.dtype == torch.bfloat16


def test_tied_heads_stay_tied_in_bf16() -> None:
    model = tiny_model("gpt2", AutoModel)
    attach(model, Precision("bf16", backend="torch-model", keep_originals=False))
    assert model.wte.weight.dtype == torch.bfloat16


@pytest.mark.parametrize(("abilities", "bound"), [({"avx512_vnni": True}, 0.12), ({"avx2": True}, 0.24)])
def test_int8_states_more_error_where_activations_have_seven_bits(
    abilities: dict[str, bool], bound: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_int8, "capabilities", lambda: abilities)
    assert Precision("int8").error_bound == bound
    assert Precision("int8-weight").error_bound == 0.08
