"""What weights take up, and layers that stand in for others."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from rheostat.core.errors import RheostatError, SettingError
from rheostat.models.low_precision import LowPrecisionLinear, linear_shape, linear_weight, weight_bytes
from rheostat.testing import tiny_model


class Doubled(LowPrecisionLinear):
    """Holds the weight in float64: not low, but easy to count."""

    def __init__(self, original: nn.Module) -> None:
        super().__init__(original)
        self._weight = linear_weight(original).double()

    def compute(self, rows: torch.Tensor) -> torch.Tensor:
        return rows @ self._weight.float().t()

    def held_bytes(self) -> int:
        return self._weight.nbytes


def test_tied_weights_count_once() -> None:
    model = tiny_model("gpt2", AutoModelForCausalLM)
    parameters = {parameter.data_ptr(): parameter.nbytes for parameter in model.parameters()}
    buffers = sum(buffer.nbytes for buffer in model.buffers())
    assert weight_bytes(model) == sum(parameters.values()) + buffers


def test_held_weights_count_as_they_are_held() -> None:
    model = nn.Sequential(nn.Linear(4, 6, bias=False), nn.Linear(6, 2))
    assert weight_bytes(model) == 4 * (24 + 12 + 2)
    model[0] = Doubled(model[0])
    assert weight_bytes(model) == 8 * 24 + 4 * (12 + 2)


def test_conv1d_is_a_linear_layer_the_other_way_round() -> None:
    layer = Conv1D(6, 4)
    assert linear_shape(layer) == linear_shape(nn.Linear(4, 6)) == (4, 6)
    assert linear_weight(layer).shape == (6, 4)
    rows = torch.randn(3, 4)
    torch.testing.assert_close(rows @ linear_weight(layer).t() + layer.bias, layer(rows))


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_shape_and_type_go_through(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    original = nn.Linear(4, 6, bias=False)
    given = torch.randn(shape).to(dtype)
    found = Doubled(original)(given)
    assert found.shape == (*shape[:-1], 6)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), original(given.float()), rtol=0.02, atol=0.02)


def test_there_is_no_gradient_and_the_error_says_so() -> None:
    layer = Doubled(nn.Linear(4, 6))
    out = layer(torch.randn(2, 4, requires_grad=True))
    with pytest.raises(SettingError, match="Layers in low precision have no gradient."):
        out.sum().backward()
    assert not layer(torch.randn(2, 4)).requires_grad


def test_the_state_is_the_originals_until_that_is_freed() -> None:
    original = nn.Linear(4, 6)
    model = nn.Sequential(Doubled(original))
    state = model.state_dict()
    assert list(state) == ["0.weight", "0.bias"]
    assert state["0.weight"].data_ptr() == original.weight.data_ptr()
    assert list(model.parameters()) == []
    model[0].free()
    with pytest.raises(RheostatError, match="original weights were freed cannot be saved"):
        model.state_dict()


def test_it_shows_its_size_and_mode() -> None:
    layer = Doubled(nn.Linear(4, 6).eval())
    assert repr(layer) == "Doubled(in_features=4, out_features=6)"
    assert not layer.training
