"""Writing with fewer blocks: drafts that all blocks verify, and exits token by token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rheostat.core.errors import SettingError
from rheostat.core.exits import ExitRule
from rheostat.techniques.speculation import speculate
from rheostat.techniques.token_exits import generate_with_exits

if TYPE_CHECKING:
    import torch

    from rheostat.techniques import Handle

__all__ = ["Decoded", "decode", "refuse_depth", "refuse_options"]

# What may be given; and what a model's own configuration may say, since it does not change the likeliest token.
_ALLOWED = frozenset(("do_sample", "num_beams", "eos_token_id", "pad_token_id"))
_HARMLESS = _ALLOWED | frozenset(
    (
        "bos_token_id",
        "decoder_start_token_id",
        "max_length",
        "max_new_tokens",
        "use_cache",
        "cache_implementation",
        "disable_compile",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "top_h",
        "typical_p",
        "epsilon_cutoff",
        "eta_cutoff",
        "length_penalty",
        "early_stopping",
        "transformers_version",
    )
)


@dataclass(frozen=True, slots=True)
class Decoded:
    """What was written after one prompt, and how.

    Attributes:
        text: The continuation, without the prompt.
        tokens: How many tokens were written.
        mean_depth: Mean number of blocks that answered for a token; None where drafts were verified by all.
        acceptance: Share of drafted tokens that all blocks would have written too, in [0, 1]; None without drafts.
    """

    text: str
    tokens: int
    mean_depth: float | None = None
    acceptance: float | None = None


def decode(
    handle: Handle, ids: torch.Tensor, how: ExitRule | int, *, new: int, ends: Any = None
) -> tuple[list[int], dict[str, float]]:
    """Write greedily after one prompt.

    Args:
        handle: The handle of a language model.
        ids: The prompt, ``[1, length]``.
        how: When a token leaves, or how many blocks draft.
        new: Most tokens that are written.
        ends: Tokens after which writing ends; None for the model's own.

    Returns:
        The new tokens, and ``mean_depth`` or ``acceptance``.
    """
    if isinstance(how, ExitRule):
        left = generate_with_exits(handle, how, ids, max_new_tokens=new, eos_token_id=ends)
        return left.tokens[0].tolist(), {"mean_depth": left.mean_depth}
    drafted = speculate(handle, ids, depth=how, max_new_tokens=new, eos_token_id=ends)
    return drafted.tokens[0].tolist(), {"acceptance": drafted.acceptance}


def refuse_depth(handle: Handle) -> None:
    """Refuse a dial that says how deep everything goes, where rows or tokens go to depths of their own.

    Raises:
        SettingError: If the dial depth, or exit, is not at neutral.
    """
    neutral = handle.neutral()
    turned = [name for name in ("depth", "exit") if name in neutral and handle.settings[name] != neutral[name]]
    if turned:
        raise SettingError(
            "With exits or drafts the depth is no setting of its own.",
            given=", ".join(f"{name}={handle.settings[name]:g}" for name in turned),
            mend="Leave it out, or a speed that lowers it; or the exits and drafts.",
        )


def refuse_options(model: Any, options: Mapping[str, Any]) -> None:
    """Refuse options that would choose other tokens than the likeliest, given or of the model's own configuration.

    Raises:
        SettingError: If tokens are drawn, beams are searched, or probabilities are changed before the choice.
    """
    own = model.generation_config.to_diff_dict()
    draws = options.get("do_sample", own.get("do_sample"))
    beams = options.get("num_beams", own.get("num_beams")) or 1
    others = [name for name, value in own.items() if name not in _HARMLESS and not _is_neutral(name, value)]
    others += [name for name, value in options.items() if name not in _ALLOWED and value is not None]
    given = (["do_sample=True"] if draws else []) + ([f"num_beams={beams}"] if beams != 1 else []) + sorted(others)
    if given:
        raise SettingError(
            "Exits and drafts write the likeliest token, one beam, with no change to probabilities.",
            given=", ".join(given),
            mend="Give do_sample=False and leave the others out, or write without exits and drafts.",
        )


def _is_neutral(name: str, value: Any) -> bool:
    # A penalty of 1, a shortest length of 0, an answer that is left out.
    return name.startswith("_") or value is None or value is False or (value is not True and value in (0, 1))
