"""Chosen entries of weight matrices: read, overwritten, restored and trained, without a second matrix."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import nn
from torch.nn.functional import linear
from transformers.pytorch_utils import Conv1D

from rheostat.core.errors import BundleError, UnsupportedModelError

__all__ = ["Entries", "TrainedEntries", "entry_dtype", "flat_entries", "read_entries", "write_entries"]


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """A sparse change of one weight matrix.

    Attributes:
        indices: Which entries, int64 ``[n]``: positions in the flattened matrix, increasing.
        values: What is added to each of them, ``[n]``, in float32 or finer.
        shape: The shape of the matrix, as the module holds it.
        base: The digest of what the entries held when the values were trained (`Entries.digest`).

    Raises:
        BundleError: If indices and values do not fit each other and the shape.
    """

    indices: torch.Tensor
    values: torch.Tensor
    shape: tuple[int, ...]
    base: str

    def __post_init__(self) -> None:
        """Refuse indices that are out of range, out of order or there twice."""
        size = int(torch.Size(self.shape).numel())
        same = self.indices.ndim == 1 and self.indices.shape == self.values.shape
        inside = same and (not len(self.indices) or bool(self.indices[0] >= 0 and self.indices[-1] < size))
        if not inside or bool((self.indices.diff() <= 0).any()):
            raise BundleError(
                "A sparse adapter has one value for each index, and increasing indices inside the matrix.",
                given=f"{tuple(self.indices.shape)} indices and {tuple(self.values.shape)} values for {self.shape}",
                mend="Copy the file again from where it came, or train the adapter anew.",
            )

    @staticmethod
    def digest(held: torch.Tensor) -> str:
        """Return a short hash of numbers, of every bit of them."""
        whole = held.detach().cpu().contiguous().view(torch.uint8)
        return f"{held.dtype}".removeprefix("torch.") + ":" + hashlib.sha256(whole.numpy().tobytes()).hexdigest()[:16]


def flat_entries(weight: torch.Tensor) -> torch.Tensor:
    """Return a weight as a vector on the same memory, outside of autograd.

    Raises:
        UnsupportedModelError: If its memory is not contiguous.
    """
    if not weight.is_contiguous():
        raise UnsupportedModelError(
            "A matrix whose entries are trained or switched lies contiguously in memory.",
            given=f"strides {weight.stride()} for shape {tuple(weight.shape)}",
            mend="Load the model again, or make the weight contiguous.",
        )
    # Not .detach(): the entries may change between two forwards whose backward comes later.
    return weight.data.view(-1)


def entry_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type in which changes are kept: float32 at least, as small steps vanish in bfloat16."""
    return torch.promote_types(dtype, torch.float32)


def read_entries(weight: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Return the entries of a weight, as a copy."""
    return flat_entries(weight).index_select(0, indices)


def write_entries(
    weight: torch.Tensor,
    indices: torch.Tensor,
    originals: torch.Tensor,
    values: torch.Tensor | None = None,
    strength: float = 1.0,
) -> None:
    """Overwrite entries of a weight by a scatter: with ``originals + strength * values``, or just ``originals``.

    Training, merging and switching all write through here, so that they agree bit for bit.
    """
    new = originals if values is None else (originals.to(values.dtype) + strength * values).to(weight.dtype)
    flat_entries(weight).index_copy_(0, indices, new)


class _Patched(torch.autograd.Function):
    """The frozen weight with the trained values in it; its gradient reaches the values alone."""

    @staticmethod
    def forward(
        context: Any, values: torch.Tensor, originals: torch.Tensor, indices: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        write_entries(weight, indices, originals, values)
        # Saving the values lets autograd refuse a backward pass after they were changed.
        context.save_for_backward(values, indices)
        return weight.data

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> Any:
        values, indices = context.saved_tensors
        return gradients[0].reshape(-1).index_select(0, indices).to(values.dtype), None, None, None


@final
class TrainedEntries(nn.Module):
    """Stands in for a linear layer of which only some entries of the weight are trained.

    The trained parameter is a vector, ``values``, that starts at zero: gradients and the optimiser's state are as long
    as it, and no other matrix is kept. At every forward the values are written into the weight by index. In the
    backward pass the dense gradient of one matrix exists for a moment, until its entries are picked out.

    Args:
        layer: A `torch.nn.Linear` or ``Conv1D``; it is kept as the child ``base``, frozen.
        indices: Which entries to train, int64 ``[n]``, increasing.

    Attributes:
        base: The layer. While this module is in use, its weight holds the trained entries.
        values: What is added to the entries, ``[n]``.
        originals: What the entries held before, ``[n]``.
    """

    indices: torch.Tensor
    originals: torch.Tensor

    def __init__(self, layer: nn.Module, indices: torch.Tensor) -> None:
        super().__init__()
        self.base = layer.requires_grad_(False)
        indices = indices.to(self.weight.device)
        self.values = nn.Parameter(
            torch.zeros(len(indices), dtype=entry_dtype(self.weight.dtype), device=self.weight.device)
        )
        # In the state, so that a checkpoint continues with the very mask it began with.
        self.register_buffer("indices", indices)
        self.register_buffer("originals", read_entries(self.weight, indices))
        self.train(layer.training)

    @property
    def weight(self) -> torch.Tensor:
        """The weight of the layer, with whatever entries are in it now."""
        return self.base.get_parameter("weight")

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Run the layer: ``[..., in_features]`` to ``[..., out_features]``."""
        weight: torch.Tensor = _Patched.apply(  # type: ignore[no-untyped-call]
            self.values, self.originals, self.indices, self.weight
        )
        bias: Any = self.base.bias
        if isinstance(self.base, Conv1D):
            rows = torch.addmm(bias, states.reshape(-1, states.shape[-1]), weight)
            return rows.view(*states.shape[:-1], self.base.nf)
        return linear(states, weight, bias)

    def write(self) -> None:
        """Write the values into the weight, as the next forward would do."""
        write_entries(self.weight, self.indices, self.originals, self.values.detach())

    def restore(self) -> None:
        """Write the originals back: the weight is what it was, bit for bit."""
        write_entries(self.weight, self.indices, self.originals)

    def entries(self) -> Entries:
        """Return the change that was trained, as a copy on the CPU."""
        return Entries(
            self.indices.cpu().clone(),
            self.values.detach().cpu().clone(),
            tuple(self.weight.shape),
            Entries.digest(self.originals),
        )
