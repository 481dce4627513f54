"""Several depths of one model at the price of the deepest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from rheostat.core.errors import SettingError
from rheostat.models.families import locate
from rheostat.models.segment import Segment, through

if TYPE_CHECKING:
    from rheostat.techniques.handle import Handle

__all__ = ["blocks_of", "checked_depths", "climb", "outputs_at_depths", "without_cache"]


def outputs_at_depths(handle: Handle, depths: Iterable[int], **inputs: Any) -> dict[int, Any]:
    """Return a model's outputs at several depths, from one pass over its blocks.

    Each depth is the forward of the model whose list of blocks ends there, head and loss included, at the settings of
    the other dials in force. What a block computed is handed on, not computed again; only the embedding, the final norm
    and the head run once a depth. Gradients are those of separate forwards, which would cost a pass each.

    Args:
        handle: The handle of the model; it has at least one dial.
        depths: Whole numbers in [1, blocks], in any order; a depth that comes twice is run once.
        inputs: What the model takes, by name: ``input_ids``, ``attention_mask``, ``labels``, ... No cache is filled.

    Returns:
        The model's output for each depth, the shallowest first.

    Raises:
        SettingError: If a depth is out of range, no depth is given, or a cache is asked for.

    Example:
        >>> outputs = outputs_at_depths(handle, [2, 4, 6], **batch)  # doctest: +SKIP
        >>> loss = sum(output.loss for output in outputs.values()) / len(outputs)  # doctest: +SKIP
    """
    wanted = checked_depths(handle, depths)
    inputs = without_cache(handle, inputs)
    return {stop: handle.model(**inputs) for stop, _ in climb(wanted)}


def climb(depths: Iterable[int]) -> Iterator[tuple[int, Segment]]:
    """Go up from depth to depth: each forward in the body of the loop runs the blocks since the last depth.

    Args:
        depths: Depths, ascending.

    Yields:
        The depth, and the segment that forwards run until the next one.
    """
    below: Segment | None = None
    for start, stop in pairwise((0, *depths)):
        segment = Segment(stop, watch=frozenset({stop - 1}))
        if below is not None:
            segment = Segment(stop, start, below.left, below.path_after, watch=segment.watch)
        with through(segment):
            yield stop, segment
        below = segment


def blocks_of(handle: Handle) -> int:
    """Return how many blocks a handle's model has.

    Raises:
        SettingError: If the model wears nothing that has a dial.
    """
    if not handle.dials:
        raise SettingError(
            "Depths are run by a handle with a dial.", given=repr(handle), mend="Attach 'depth', or 'tokens', too."
        )
    return len(locate(handle.model).blocks)


def checked_depths(handle: Handle, depths: Iterable[int]) -> tuple[int, ...]:
    """Return depths in ascending order, each once.

    Raises:
        SettingError: If there are none, or one is no whole number in [1, blocks].
    """
    given, blocks = list(depths), blocks_of(handle)
    if not given or not all(isinstance(depth, int) and not isinstance(depth, bool) for depth in given):
        raise SettingError("Depths are whole numbers, one or more.", given=given)
    strange = [depth for depth in given if not 1 <= depth <= blocks]
    if strange:
        raise SettingError(f"A depth lies in [1, {blocks}] for this model.", given=strange)
    return tuple(sorted(set(given)))


def without_cache(handle: Handle, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return inputs that ask for no cache.

    Raises:
        SettingError: If they name one.
    """
    if inputs.get("past_key_values") is not None or inputs.get("use_cache"):
        raise SettingError(
            "A forward that is put together from several fills no cache.",
            given=", ".join(name for name in ("past_key_values", "use_cache") if inputs.get(name)),
            mend="Leave the cache out.",
        )
    return {**inputs, **({"use_cache": False} if handle.family.kind == "decoder" else {})}
