"""Linear layers whose weights are held in fewer bits, and what a model's weights take up in memory."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from rheostat.core.errors import RheostatError, SettingError

__all__ = ["LowPrecisionLinear", "linear_shape", "linear_weight", "weight_bytes"]


class LowPrecisionLinear(nn.Module):
    """Stands in for a linear layer of which it holds the weights in fewer bits.

    It has no parameters. While the original is kept, the state of the model is saved from that, as if nothing had been
    converted; once it is freed, saving is refused. There is no gradient through it.

    Attributes:
        in_features: Numbers of a row that come in.
        out_features: Numbers of a row that go out.
    """

    def __init__(self, original: nn.Module) -> None:
        super().__init__()
        self.in_features, self.out_features = linear_shape(original)
        # In a tuple, so that it is no child: its weights are not the model's while it is replaced.
        self._original: tuple[nn.Module, ...] = (original,)
        self.train(original.training)

    @abstractmethod
    def compute(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the output for float32 ``rows [rows, in_features]``."""

    @abstractmethod
    def held_bytes(self) -> int:
        """Return the bytes that weights, scales and bias take up as they are held."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Run the layer: ``[..., in_features]`` to ``[..., out_features]``, in the type of the input."""
        if torch.is_grad_enabled() and states.requires_grad:
            out: torch.Tensor = _WithoutGradient.apply(states, self)  # type: ignore[no-untyped-call]
            return out
        return self.run(states)

    def run(self, states: torch.Tensor) -> torch.Tensor:
        """Run the layer, whatever autograd thinks of it."""
        rows = states.reshape(-1, self.in_features).float()
        return self.compute(rows).to(states.dtype).view(*states.shape[:-1], self.out_features)

    def free(self) -> None:
        """Let go of the original."""
        self._original = ()

    def extra_repr(self) -> str:
        """Say the size, as torch's own layers do."""
        return f"in_features={self.in_features}, out_features={self.out_features}"

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        if not self._original:
            raise RheostatError(
                "A model whose original weights were freed cannot be saved.",
                given=type(self).__name__,
                mend="Convert with keep_originals=True, or save the model before it is converted.",
            )
        self._original[0]._save_to_state_dict(destination, prefix, keep_vars)


class _WithoutGradient(torch.autograd.Function):
    """Lets a forward run where autograd is on, and says in the backward pass what is wrong."""

    @staticmethod
    def forward(context: Any, states: torch.Tensor, layer: LowPrecisionLinear) -> torch.Tensor:
        return layer.run(states)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> Any:
        raise SettingError(
            "Layers in low precision have no gradient.",
            given="a backward pass through a converted model",
            mend="Train the plain model, and convert it afterwards.",
        )


def linear_shape(layer: nn.Module) -> tuple[int, int]:
    """Return the numbers of a row that go into a linear layer or `Conv1D`, and out of it."""
    if isinstance(layer, Conv1D):
        return int(layer.nx), int(layer.nf)
    return int(layer.in_features), int(layer.out_features)  # type: ignore[arg-type]


def linear_weight(layer: nn.Module) -> torch.Tensor:
    """Return the weight of a linear layer or `Conv1D` as ``[out, in]``, without its gradient."""
    weight = layer.get_parameter("weight").detach()
    return weight.t() if isinstance(layer, Conv1D) else weight


def weight_bytes(model: nn.Module) -> int:
    """Return the bytes that the weights of a model take up as it holds them now, packed ones included.

    Tied weights count once. Originals that a handle keeps to be able to detach are no part of the model.
    """
    storages = [tensor.untyped_storage() for tensor in (*model.parameters(), *model.buffers())]
    plain = {storage.data_ptr(): storage.nbytes() for storage in storages}
    packed = [module.held_bytes() for module in model.modules() if isinstance(module, LowPrecisionLinear)]
    return sum(plain.values()) + sum(packed)
