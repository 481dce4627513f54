"""Training whole parameters, but not all: the last blocks, or the head alone."""

from __future__ import annotations

from typing import final

from torch import nn
from torch.utils.hooks import RemovableHandle

from rheostat.core.errors import SettingError
from rheostat.models.parts import parts_of, stop_below
from rheostat.train.adapters.prepared import Prepared
from rheostat.train.adapters.trainable import Trainable

__all__ = ["WholeTraining"]


@final
class WholeTraining(Prepared):
    """A model of which some parameters are trained as they are, and the others frozen.

    ``last-k`` trains the last blocks, what comes after them and the head; ``frozen`` the head alone. The embeddings and
    the blocks below need no gradient, so that autograd records nothing there and no backward pass runs through them:
    the cheap end of sparse back-propagation (PockEngine, https://arxiv.org/abs/2310.17752). A language model's output
    layer that is tied to the embeddings stays frozen with them.

    Args:
        model: The model; changed in place until `merge`.
        trainable: Of the kind ``full``, ``last-k`` or ``frozen``.

    Raises:
        SettingError: If the model has fewer blocks, or nothing to train is left.
        UnsupportedModelError: If the family is not supported.
    """

    def __init__(self, model: nn.Module, trainable: Trainable) -> None:
        self.model = model
        self._stop: RemovableHandle | None = None
        self._before = [(each, each.requires_grad) for each in model.parameters()]
        if trainable.kind == "full":
            return
        parts = parts_of(model)
        trained = list(parts.head.values())
        if trainable.kind == "last-k":
            count = _checked(trainable.blocks or 0, len(parts.blocks))
            trained += [*parts.above.values(), *(each for block in parts.blocks[-count:] for each in block.values())]
            self.note = f"The last {count} of {len(parts.blocks)} blocks and what follows them were trained."
        else:
            self.note = "The head alone was trained."
        if not trained:
            raise SettingError(
                "The kind 'frozen' trains a head.",
                given="a model whose output layer is tied to its embeddings",
                mend="Choose last-k, or an adapter.",
            )
        model.requires_grad_(False)
        for parameter in trained:
            parameter.requires_grad_(True)
        self._stop = stop_below(model)

    def merge(self) -> None:
        """Let every parameter be trained again that could be before."""
        if self._stop is not None:
            self._stop.remove()
        for parameter, learnt in self._before:
            parameter.requires_grad_(learnt)


def _checked(wanted: int, there: int) -> int:
    if wanted > there:
        raise SettingError(
            "last-k trains blocks that the model has.",
            given=f"blocks={wanted} and a model of {there}",
            mend=f"Choose at most {there}.",
        )
    return wanted
