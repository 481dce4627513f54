"""LoRA and its relatives, through PEFT: trained in place of the weights, and merged into them at the end."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from torch import nn
from transformers.pytorch_utils import Conv1D

from rheostat.core.errors import UnsupportedModelError
from rheostat.core.extras import require
from rheostat.core.text import Task
from rheostat.models.families import locate
from rheostat.models.low_precision import LowPrecisionLinear
from rheostat.train.adapters import quantised
from rheostat.train.adapters.prepared import Prepared
from rheostat.train.adapters.trainable import Trainable

__all__ = ["LowRankTraining"]

_NEW_HEADS = ("pre_classifier",)
_NAMES = {"lora": "LoRA", "rslora": "rsLoRA", "dora": "DoRA", "qlora": "QLoRA"}


@final
class LowRankTraining(Prepared):
    """A model with adapters of low rank on every linear layer; only they and a new head are trained.

    Args:
        model: A Transformers model; changed in place until `merge`.
        trainable: Of the kind ``lora``, ``rslora``, ``dora`` or ``qlora``.
        task: What the model is for: a classifier's head is trained as a whole.
        origin: Where the weights came from, for the adapter's file.

    Raises:
        RheostatError: If PEFT is not installed.
        UnsupportedModelError: If a layer cannot carry such adapters, or bitsandbytes does not work here.
    """

    def __init__(self, model: nn.Module, trainable: Trainable, *, task: Task, origin: str = "") -> None:
        peft = require("peft", extra="train")
        if trainable.kind == "dora":
            _refuse_unfit(model)
        if trainable.kind == "qlora":
            quantised.quantise(model)
        self._model, self._origin, self._kind = model, origin, trainable.kind
        with _readable_errors(trainable.kind), quantised.told(model, trainable.kind == "qlora"):
            self.model: Any = peft.get_peft_model(model, _configuration(peft, model, trainable, task))
        self.note = (
            f"{_NAMES[trainable.kind]} adapters of rank {trainable.rank} were trained, and merged into the weights."
        )

    def save(self, folder: Path) -> bool:
        """Write the adapters into a folder, as PEFT reads them."""
        self.model.peft_config["default"].base_model_name_or_path = self._origin
        with _quiet():
            # Otherwise PEFT asks the hub whether the vocabulary was changed.
            self.model.save_pretrained(folder, save_embedding_layers=False)
        # PEFT's card is a form with nothing filled in.
        (folder / "README.md").unlink(missing_ok=True)
        return True

    def merge(self) -> None:
        """Merge the adapters into the weights, in place; weights in 4 bits become float32."""
        if self._kind == "qlora":
            quantised.merge(self._model)
        self.model.merge_and_unload()
        self._model.requires_grad_(True)


def _configuration(peft: Any, model: nn.Module, trainable: Trainable, task: Task) -> Any:
    heads = [name for name in _NEW_HEADS if hasattr(model, name)]
    return peft.LoraConfig(
        task_type="SEQ_CLS" if task == "classification" else "CAUSAL_LM",
        r=trainable.rank,
        lora_alpha=trainable.alpha,
        lora_dropout=trainable.dropout,
        use_rslora=trainable.kind == "rslora",
        use_dora=trainable.kind == "dora",
        target_modules="all-linear",
        modules_to_save=heads or None,
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
    )


def _refuse_unfit(model: nn.Module) -> None:
    """Refuse blocks with matrices that DoRA cannot take apart into direction and magnitude."""
    for at, block in enumerate(locate(model).blocks):
        for path, module in block.named_modules():
            matrices = [name for name, each in module.named_parameters(recurse=False) if each.ndim > 1]
            plain = isinstance(module, nn.Linear | Conv1D) or not matrices
            if isinstance(module, LowPrecisionLinear) or not plain:
                raise UnsupportedModelError(
                    "DoRA trains plain linear layers: it needs the weight of each as one matrix.",
                    given=f"{path} of block {at}, a {type(module).__name__}",
                    mend="Choose 'lora', or load the plain model.",
                )


@contextmanager
def _readable_errors(kind: str) -> Iterator[None]:
    try:
        with _quiet():
            yield
    except (ValueError, TypeError, NotImplementedError) as error:
        raise UnsupportedModelError(
            f"PEFT has to know how to put {_NAMES[kind]} adapters on the layers of the model.",
            given=str(error).splitlines()[0],
            mend="Choose another kind of adapter.",
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        # PEFT 0.21 reads a name that Transformers 5 has deprecated.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield
