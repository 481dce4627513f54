"""Training SHiRA: a vector of values for each matrix, added to a few of its entries by index."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import final

import torch
from torch import nn

from rheostat.core.errors import SettingError, TrainingError, UnsupportedModelError
from rheostat.models.parts import block_matrices, parts_of
from rheostat.models.sparse import TrainedEntries
from rheostat.techniques.finetuning.shira import FILE, SparseAdapter
from rheostat.train.adapters.masks import NEED_GRADIENTS, choose_entries
from rheostat.train.adapters.prepared import Losses, Prepared
from rheostat.train.adapters.trainable import Trainable

__all__ = ["SparseTraining"]


@final
class SparseTraining(Prepared):
    """A model of which a few entries of each matrix are trained, and a classifier's head as a whole.

    Sparse High Rank Adapters: https://arxiv.org/abs/2406.13175. PEFT has them, too, but with a number of values that is
    a multiple of rows + columns, a copy of every matrix in every forward, no ``Conv1D``, and an unloading by
    subtraction, after which the weights are not the same bit for bit. Where the mask needs gradients, they take the
    memory of one gradient for each matrix while it is chosen.

    Args:
        model: The model; changed in place until `merge` or `unload`.
        trainable: Share and mask.
        train_head: Whether what is outside the base model is trained as a whole.
        seed: Decides a random mask.
        losses: Runs training data, for the masks that need gradients.

    Raises:
        SettingError: If the mask needs gradients and there is no data for them.
        TrainingError: If such a gradient is not finite.
        UnsupportedModelError: If the family is not supported, or no matrix is large enough for the share.
    """

    def __init__(
        self, model: nn.Module, trainable: Trainable, *, train_head: bool, seed: int = 0, losses: Losses | None = None
    ) -> None:
        self.model = model
        self._about = {**trainable.to_json(), "seed": seed}
        self._frozen_before = {id(each): each.requires_grad for each in model.parameters()}
        self._head = parts_of(model).head if train_head else {}
        layers = block_matrices(model)
        chosen = _choose(model, layers, trainable, seed, losses)
        self._originals = {name: parameter.detach().clone() for name, parameter in self._head.items()}
        model.requires_grad_(False)
        for parameter in self._head.values():
            parameter.requires_grad_(True)
        self._entries = {path: TrainedEntries(layers[path], indices) for path, indices in chosen.items()}
        self._replace({id(each.base): each for each in self._entries.values()})
        self.note = (
            f"SHiRA trained {self.adapter().share:.2%} of the matrices of the blocks ({trainable.mask} mask), "
            "and the change was merged into the weights."
        )

    def adapter(self) -> SparseAdapter:
        """Return what was trained so far, as a copy."""
        matrices = {f"{path}.weight": each.entries() for path, each in self._entries.items()}
        whole = {name: parameter.detach().cpu().clone() for name, parameter in self._head.items()}
        return SparseAdapter(matrices, whole, self._about)

    def save(self, folder: Path) -> bool:
        """Write the adapter into a folder."""
        self.adapter().save(folder / FILE)
        return True

    def merge(self) -> None:
        """Leave the plain model, with the trained values in its weights."""
        for each in self._entries.values():
            each.write()
        self._take_off()

    def unload(self) -> None:
        """Leave the plain model as it was before, bit for bit, its head included."""
        for each in self._entries.values():
            each.restore()
        for name, parameter in self._head.items():
            parameter.data.copy_(self._originals[name])
        self._take_off()

    def _replace(self, by_old: dict[int, nn.Module]) -> None:
        for parent in list(self.model.modules()):
            for name, child in list(parent.named_children()):
                if id(child) in by_old:
                    parent._modules[name] = by_old[id(child)]

    def _take_off(self) -> None:
        self._replace({id(each): each.base for each in self._entries.values()})
        for parameter in self.model.parameters():
            parameter.requires_grad_(self._frozen_before[id(parameter)])


def _choose(
    model: nn.Module, layers: dict[str, nn.Module], trainable: Trainable, seed: int, losses: Losses | None
) -> dict[str, torch.Tensor]:
    mask, share = trainable.mask, trainable.share
    assert mask is not None
    assert share is not None
    weights = {path: layer.get_parameter("weight") for path, layer in layers.items()}
    generator = torch.Generator().manual_seed(seed)
    chosen = {}
    with _gradients(model, weights if mask in NEED_GRADIENTS else {}, losses):
        for path, weight in weights.items():
            indices = choose_entries(mask, weight.detach(), share, generator=generator, gradient=weight.grad)
            if len(indices):
                chosen[path] = indices
    if not chosen:
        raise UnsupportedModelError(
            "SHiRA trains at least one entry of a matrix.",
            given=f"share={share:g} and {len(weights)} matrices, the largest with "
            f"{max((weight.numel() for weight in weights.values()), default=0)} entries",
            mend="Raise the share, or choose another kind of adapter.",
        )
    return chosen


@contextmanager
def _gradients(model: nn.Module, weights: dict[str, nn.Parameter], losses: Losses | None) -> Iterator[None]:
    """Give the weights the gradient of the loss, summed over batches, and take it away again."""
    if not weights:
        yield
        return
    before = [(each, each.requires_grad) for each in model.parameters()]
    was_training = model.training
    model.eval().requires_grad_(False)
    for weight in weights.values():
        weight.grad = None
        weight.requires_grad_(True)
    try:
        _backward(losses)
        _check_gradients(weights)
        yield
    finally:
        for parameter, learnt in before:
            parameter.grad = None
            parameter.requires_grad_(learnt)
        model.train(was_training)


def _backward(losses: Losses | None) -> None:
    count = 0
    for loss in losses() if losses is not None else ():
        loss.backward()
        count += 1
    if not count:
        raise SettingError(
            "The masks 'gradient' and 'snip' are chosen on batches of training data.",
            given="no batches",
            mend="Give some, or choose the mask 'weight', 'random' or 'structural'.",
        )


def _check_gradients(weights: dict[str, nn.Parameter]) -> None:
    for path, weight in weights.items():
        if weight.grad is None:
            # A layer that the loss does not depend on, as a pooler that is not used.
            weight.grad = torch.zeros_like(weight)
        if not bool(torch.isfinite(weight.grad).all()):
            raise TrainingError(
                "A mask is chosen by gradients that are finite.",
                given=f"a gradient of {path} is NaN or infinite",
                mend="Look for unusual rows in the data, or choose the mask 'weight'.",
            )
