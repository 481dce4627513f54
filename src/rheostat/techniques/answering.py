"""A classifier whose rows leave early, are read twice, or hear more, as dials say: each forward asks the handle."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers.modeling_outputs import SequenceClassifierOutput

from rheostat.core.errors import SettingError
from rheostat.models.families import locate
from rheostat.models.segment import current_segment
from rheostat.techniques.rereading import read_twice
from rheostat.techniques.row_exits import leave

if TYPE_CHECKING:
    from rheostat.techniques.handle import Handle

__all__ = ["AnsweringModel"]

_NO_ANSWERS = ("labels", "output_hidden_states", "output_attentions")


class AnsweringModel:
    """A classifier that answers each row in its own time. `take_off` gives the very same model back.

    Args:
        handle: The handle of the model, which knows when rows leave, which are read again, and what is added.
    """

    def __init__(self, handle: Handle) -> None:
        self._model, self._plain = handle.model, type(handle.model)
        handle.model.__class__ = _answering_class(self._plain, handle)

    def take_off(self) -> None:
        """Give the model its own class back."""
        self._model.__class__ = self._plain


def _answering_class(plain: type[nn.Module], handle: Handle) -> type[nn.Module]:
    names = list(inspect.signature(plain.forward).parameters)[1:]

    class WornClassifier(plain):  # type: ignore[misc, valid-type]
        @functools.wraps(plain.forward)
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            answer = _answer(plain, handle)
            if answer is None:
                return plain.forward(self, *args, **kwargs)
            named = {**dict(zip(names, args, strict=False)), **kwargs}
            logits = answer(_checked(handle, named))
            return SequenceClassifierOutput(logits=logits) if named.get("return_dict") is not False else (logits,)

    WornClassifier.__name__, WornClassifier.__qualname__ = plain.__name__, plain.__qualname__
    WornClassifier.__module__ = plain.__module__
    return WornClassifier


def _answer(plain: type[nn.Module], handle: Handle) -> Callable[[dict[str, Any]], torch.Tensor] | None:
    """Return how a forward at the settings in force answers row by row; None where it does not.

    The readings of a cascade come back here, with its dial at neutral: rows may leave them early. So do the forwards
    from exit to exit, which run the segment that is in force. What is added is so in the innermost of them: doubt, and
    confidence at an exit, are those of all that was heard.
    """
    if current_segment() is None:
        if (again := handle.again()) is not None:
            return lambda inputs: read_twice(handle, again, inputs)
        if (rule := handle.exit_rule()) is not None:
            return lambda inputs: leave(handle, *rule, inputs).logits
    if (added := handle.adding()) is not None:
        return lambda inputs: _with(added(inputs), plain.forward(handle.model, **inputs, return_dict=True).logits)
    return None


def _with(added: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    return (logits.float() + added.to(logits.device)).to(logits.dtype)


def _checked(handle: Handle, named: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the forwards of a batch take, once it is clear that logits will do."""
    model: Any = handle.model
    if locate(model).base is model or model.can_generate():
        raise SettingError(
            "Rows that leave early, are read twice, or hear more are those of a model that classifies them.",
            given=type(model).__name__,
            mend="Load it for classification, or use rheostat exits, for tokens of a language model.",
        )
    refused = [name for name in _NO_ANSWERS if named.get(name) is not None and named.get(name) is not False]
    if refused or (torch.is_grad_enabled() and handle.model.training):
        raise SettingError(
            "Rows that leave early, are read twice, or hear more give logits, and nothing to train by.",
            given=", ".join(refused) or "a model in training mode",
            mend="Leave it out, or set the dial to neutral.",
        )
    return {name: value for name, value in named.items() if name not in (*_NO_ANSWERS, "return_dict")}
