"""Telling dial settings and options of Transformers' ``generate`` apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rheostat.core.dial import Dial
from rheostat.core.errors import SettingError
from rheostat.core.names import suggest

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["generation_options"]

_BESIDE_CONFIG = ("logits_processor", "stopping_criteria", "prefix_allowed_tokens_fn", "generation_config")


def generation_options(
    dials: Iterable[Dial], model: PreTrainedModel, options: Mapping[str, Any]
) -> tuple[dict[str, float], dict[str, Any]]:
    """Split options into dial settings and options of ``generate``.

    Raises:
        SettingError: If nobody knows one of them; with the nearest known name.
    """
    turned = {dial.name for dial in dials}
    known = {name for name in model.generation_config.to_dict() if not name.startswith("_")}
    known.update(_BESIDE_CONFIG)
    for name in options:
        if name not in turned | known:
            raise SettingError(
                "An option is a dial or one of Transformers' generate.",
                given=repr(name),
                mend=_nearest(name, turned, known),
            )
    settings = {name: value for name, value in options.items() if name in turned}
    return settings, {name: value for name, value in options.items() if name not in turned}


def _nearest(name: str, turned: set[str], known: set[str]) -> str:
    # Transformers knows some 60 options: listing them all would hide the hint.
    hint = suggest(name, turned | known).partition(" Known:")[0]
    return hint if hint.startswith("Did") else f"Dials: {', '.join(sorted(turned))}."
