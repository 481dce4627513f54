"""Which tokens went on through which block: as coloured text, as a map in the terminal, as a picture."""

from __future__ import annotations

import io
import itertools
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rheostat.core.errors import SettingError
from rheostat.core.files import write_atomically
from rheostat.report.libraries import (
    matplotlib_canvas,
    matplotlib_colours,
    matplotlib_figure,
    missing_glyph_filter,
    rich_text,
)
from rheostat.report.palette import GONE, MIDDLE_BLUE, THERE, depth_colour, ink_on
from rheostat.report.pieces import Piece, readable_pieces

if TYPE_CHECKING:
    from rich.text import Text

__all__ = [
    "kept_shares",
    "survival_depths",
    "survivors_map_text",
    "survivors_picture",
    "survivors_text",
    "visible_text",
]

Survivors = Sequence[Sequence[int]]

_MOST_LABELS = 80
_SHADES = "·░▒▓█"


def survival_depths(length: int, survivors: Survivors) -> list[int]:
    """Return for each of ``length`` tokens how many blocks it went on through: 0 to ``len(survivors)``.

    Args:
        length: Number of tokens.
        survivors: For each block, the positions (0 to ``length - 1``) that went on after it.

    Raises:
        SettingError: If a position lies outside the text.

    Example:
        >>> survival_depths(3, [[0, 2], [0]])
        [2, 0, 1]
    """
    depths = [0] * length
    for position in itertools.chain.from_iterable(survivors):
        if not 0 <= position < length:
            raise SettingError(
                "A survivor is a position of the text.",
                given=position,
                mend=f"Give positions from 0 to {length - 1}.",
            )
        depths[position] += 1
    return depths


def kept_shares(length: int, survivors: Survivors) -> list[float]:
    """Return for each block the share of the ``length`` tokens that went on after it, in [0, 1]."""
    return [len(kept) / length if length else 0.0 for kept in survivors]


def survivors_text(tokens: Sequence[str], survivors: Survivors, special: Collection[str] | None = None) -> Text:
    """Return the text with each token coloured by how deep it went: dark is dropped early, bright is kept.

    Letters and ground are both coloured, so it reads the same in a dark and in a light terminal.

    Args:
        tokens: What ``tokenizer.convert_ids_to_tokens`` returns.
        survivors: For each block, the positions that went on after it.
        special: The tokenizer's special tokens; where None they are told by their shape.

    Raises:
        SettingError: If a position lies outside the text.
    """
    text, blocks = rich_text()(), len(survivors)
    depths = survival_depths(len(tokens), survivors)
    for piece, depth in zip(readable_pieces(tokens, special), depths, strict=True):
        text.append(" " if piece.spaced else "")
        text.append(visible_text(piece), style=_style(depth, blocks, piece.special))
    text.append("\n\n")
    return text.append_text(_legend(blocks))


def survivors_map_text(length: int, survivors: Survivors, width: int = 60) -> Text:
    """Return a map for the terminal: a line a block, each letter shaded by the share still there.

    Args:
        length: Number of tokens; longer texts share a letter among neighbours.
        survivors: For each block, the positions that went on after it.
        width: Letters in a line, at least 1.
    """
    survival_depths(length, survivors)
    text, columns = rich_text()(), max(1, min(width, length))
    text.append(f"{'block':>5}  {'token 1':<{max(columns - 6, 0)}}{length:>6}  tokens kept\n", style="dim")
    for block, kept in enumerate(survivors, start=1):
        line = "".join(_SHADES[_shade(column, columns, length, kept)] for column in range(columns))
        share = len(kept) / length if length else 0.0
        text.append(f"{block:>5}  ")
        text.append(line.ljust(max(columns, 13)), style=MIDDLE_BLUE)
        text.append(f"  {len(kept)} ({share:.0%})\n")
    text.append(
        "       █ all there  ▓▒░ some  · none\n" if columns < length else "       █ there  · gone\n",
        style="dim",
    )
    return text


def survivors_picture(tokens: Sequence[str], survivors: Survivors, path: Path, title: str) -> None:
    """Draw the map as a PNG: blocks downwards, tokens to the right, blue where a token is still there.

    The layout is that of figure 3 of Zero-Shot Adjustable Acceleration (https://arxiv.org/abs/2509.01190),
    with the share kept by each block beside it. Texts of more than 80 tokens get positions in place of words.

    Args:
        tokens: What ``tokenizer.convert_ids_to_tokens`` returns.
        survivors: For each block, the positions that went on after it.
        path: Where the PNG goes; it is written whole or not at all.
        title: The heading.

    Raises:
        SettingError: If a position lies outside the text, or there is nothing to draw.
        RheostatError: If matplotlib is not installed or the file cannot be written.
    """
    survival_depths(len(tokens), survivors)
    if not tokens or not survivors:
        raise SettingError("A survivors map needs at least one token and one block.", given=f"{len(tokens)} tokens")
    figure = _canvas(len(tokens), len(survivors))
    left, right = figure.subplots(1, 2, width_ratios=_widths(figure), sharey=True)
    _draw_map(left, tokens, survivors)
    _draw_shares(right, len(tokens), survivors)
    figure.suptitle(missing_glyph_filter()(title), x=0.02, ha="left", fontsize=13, fontweight="bold", parse_math=False)
    content = io.BytesIO()
    matplotlib_canvas()(figure).print_png(content)
    write_atomically(Path(path), content.getvalue())


def visible_text(piece: Piece) -> str:
    """Return a piece with its line breaks and tabs drawn as signs, so that no token is invisible."""
    return piece.text.replace("\n", "⏎").replace("\t", "⇥") or "␣"


def _style(depth: int, blocks: int, special: bool) -> str:
    ground = depth_colour(depth / blocks if blocks else 1.0)
    return f"{'italic ' if special else ''}{ink_on(ground)} on {ground}"


def _legend(blocks: int) -> Text:
    """The words say what the colours mean, so that the legend also works without them."""
    text = rich_text()()
    text.append("dropped by block ", style="dim")
    step = max(1, -(-blocks // 12))
    for depth in range(0, blocks, step):
        text.append(f" {depth + 1} ", style=_style(depth, blocks, special=False))
    text.append("   kept to the end ", style="dim")
    text.append(f" {blocks} ", style=_style(blocks, blocks, special=False))
    text.append("   special tokens in ", style="dim")
    return text.append("italics", style="dim italic")


def _shade(column: int, columns: int, length: int, kept: Sequence[int]) -> int:
    start, stop = column * length // columns, (column + 1) * length // columns
    share = sum(start <= position < stop for position in kept) / max(stop - start, 1)
    whole = len(_SHADES) - 1
    # Only a column with nobody left is drawn empty, and only one with everybody left is drawn full.
    return whole if share >= 1 else 0 if share == 0 else min(max(round(share * whole), 1), whole - 1)


def _canvas(length: int, blocks: int) -> Any:
    labelled = length <= _MOST_LABELS
    wide = min(max(0.19 * length + 3.2, 8.0), 18.0) if labelled else 12.0
    high = min(max(0.34 * blocks, 1.4), 9.0) + (2.3 if labelled else 1.7)
    return matplotlib_figure()(figsize=(wide, high), dpi=150, layout="constrained", facecolor="white")


def _widths(figure: Any) -> tuple[float, float]:
    return float(figure.get_size_inches()[0]) - 2.2, 1.8


def _draw_map(axes: Any, tokens: Sequence[str], survivors: Survivors) -> None:
    there = [[int(position in kept) for position in range(len(tokens))] for kept in map(frozenset, survivors)]
    edges = "white" if len(tokens) <= _MOST_LABELS else "none"
    axes.pcolormesh(there, cmap=matplotlib_colours(GONE, THERE), vmin=0, vmax=1, edgecolors=edges, linewidth=0.8)
    axes.invert_yaxis()
    axes.set_title("blue: went on after the block; grey: dropped", loc="left", fontsize=9, color="#57606a")
    axes.set_ylabel("block")
    step = max(1, -(-len(survivors) // 16))
    axes.set_yticks([block + 0.5 for block in range(0, len(survivors), step)], range(1, len(survivors) + 1, step))
    if len(tokens) <= _MOST_LABELS:
        drawable = missing_glyph_filter()
        words = [drawable(visible_text(piece)) for piece in readable_pieces(tokens)]
        places = [place + 0.5 for place in range(len(words))]
        axes.set_xticks(places, words, rotation=90, fontsize=8, parse_math=False)
    else:
        axes.set_xlabel("token position (from 0)")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _draw_shares(axes: Any, length: int, survivors: Survivors) -> None:
    shares = kept_shares(length, survivors)
    bars = axes.barh([block + 0.5 for block in range(len(shares))], shares, height=0.72, color=THERE)
    axes.bar_label(bars, [f"{share:.0%}" for share in shares], padding=3, fontsize=8)
    axes.set_xlim(0, 1.28)
    axes.set_xticks([])
    axes.set_title("tokens kept (%)", loc="left", fontsize=9, color="#57606a")
    axes.tick_params(length=0, labelleft=False)
    axes.spines[:].set_visible(False)
