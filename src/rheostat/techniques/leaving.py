"""A classifier whose rows leave early as a dial says: before a forward, it asks the handle."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers.modeling_outputs import SequenceClassifierOutput

from rheostat.core.errors import SettingError
from rheostat.core.exits import ExitRule
from rheostat.models.families import locate
from rheostat.models.segment import current_segment
from rheostat.techniques.row_exits import leave

if TYPE_CHECKING:
    from rheostat.techniques.handle import Handle

__all__ = ["LeavingModel"]

_NO_ANSWERS = ("labels", "output_hidden_states", "output_attentions")


class LeavingModel:
    """A classifier that lets rows leave. `take_off` gives the very same model back.

    Args:
        handle: The handle of the model, which knows when rows leave.
    """

    def __init__(self, handle: Handle) -> None:
        self._model, self._plain = handle.model, type(handle.model)
        handle.model.__class__ = _leaving_class(self._plain, handle)

    def take_off(self) -> None:
        """Give the model its own class back."""
        self._model.__class__ = self._plain


def _leaving_class(plain: type[nn.Module], handle: Handle) -> type[nn.Module]:
    names = list(inspect.signature(plain.forward).parameters)[1:]

    class WornClassifier(plain):  # type: ignore[misc, valid-type]
        @functools.wraps(plain.forward)
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            # The forwards from exit to exit come here, too: they run the segment that is in force.
            found = handle.exit_rule() if current_segment() is None else None
            if found is None:
                return plain.forward(self, *args, **kwargs)
            return _answer(handle, *found, {**dict(zip(names, args, strict=False)), **kwargs})

    WornClassifier.__name__, WornClassifier.__qualname__ = plain.__name__, plain.__qualname__
    WornClassifier.__module__ = plain.__module__
    return WornClassifier


def _answer(handle: Handle, rule: ExitRule, stop: int, named: Mapping[str, Any]) -> Any:
    model: Any = handle.model
    if locate(model).base is model or model.can_generate():
        raise SettingError(
            "Rows leave a model that classifies them.",
            given=type(model).__name__,
            mend="Load it for classification, or use rheostat exits, for tokens of a language model.",
        )
    refused = [name for name in _NO_ANSWERS if named.get(name) is not None and named.get(name) is not False]
    if refused or (torch.is_grad_enabled() and handle.model.training):
        raise SettingError(
            "Rows that leave early give logits, and nothing to train by.",
            given=", ".join(refused) or "a model in training mode",
            mend="Leave it out, or set the dial to neutral.",
        )
    inputs = {name: value for name, value in named.items() if name not in (*_NO_ANSWERS, "return_dict")}
    logits = leave(handle, rule, stop, inputs).logits
    return SequenceClassifierOutput(logits=logits) if named.get("return_dict") is not False else (logits,)
