"""Colours that keep their order for every eye, and text that stays readable on them."""

from __future__ import annotations

__all__ = ["GONE", "MIDDLE_BLUE", "THERE", "contrast", "depth_colour", "ink_on"]

# Cividis (https://doi.org/10.1371/journal.pone.0199239), sampled: lightness rises evenly from first to last,
# also for people with red-green colour blindness and in grey print.
_ANCHORS = ("#00204c", "#213d6b", "#555b6c", "#7b7a77", "#a59c74", "#d3c064", "#ffe945")

THERE, GONE = "#1f5fa8", "#e4e7eb"
"""A token that is still there, and one that was dropped, in pictures on white."""

MIDDLE_BLUE = "#3079c6"
"""A blue that stands out on white (contrast 4.5) and on a dark page alike."""


def depth_colour(share: float) -> str:
    """Return the colour of a token that went on through ``share`` of the blocks, as ``#rrggbb``.

    Args:
        share: Between 0 (dropped by the first block: dark) and 1 (kept by all: bright); clipped.

    Example:
        >>> depth_colour(0.0), depth_colour(1.0)
        ('#00204c', '#ffe945')
    """
    place = min(max(share, 0.0), 1.0) * (len(_ANCHORS) - 1)
    left = min(int(place), len(_ANCHORS) - 2)
    between = place - left
    pairs = zip(_channels(_ANCHORS[left]), _channels(_ANCHORS[left + 1]), strict=True)
    return "#" + "".join(f"{round(low + (high - low) * between):02x}" for low, high in pairs)


def ink_on(background: str) -> str:
    """Return black or white, whichever stands out more on a background ``#rrggbb``."""
    return "#000000" if contrast("#000000", background) >= contrast("#ffffff", background) else "#ffffff"


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours ``#rrggbb``, from 1 (the same) to 21 (black on white).

    The definition is that of WCAG 2.2, https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio; text needs 4.5.
    """
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    red, green, blue = (_linear(channel / 255) for channel in _channels(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else float(((channel + 0.055) / 1.055) ** 2.4)


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
