from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from rheostat.core.errors import SettingError
from rheostat.report.palette import depth_colour
from rheostat.report.survivors import (
    kept_shares,
    survival_depths,
    survivors_map_text,
    survivors_picture,
    survivors_text,
)

TOKENS = ["[CLS]", "a", "won", "##der", "[SEP]"]
SURVIVORS = [[0, 2, 3, 4], [0, 2, 4], [0, 4]]


def style_of(text: Text, word: str) -> str:
    return next(str(span.style) for span in text.spans if text.plain[span.start : span.end] == word)


def png_size(path: Path) -> tuple[int, int]:
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    return int(width), int(height)


def test_depths_count_the_blocks_a_token_went_through() -> None:
    assert survival_depths(5, SURVIVORS) == [3, 0, 2, 1, 3]
    assert kept_shares(5, SURVIVORS) == [0.8, 0.6, 0.4]


@given(st.integers(1, 40), st.data())
def test_depths_and_shares_count_the_same_tokens(length: int, data: st.DataObject) -> None:
    blocks = data.draw(st.lists(st.sets(st.integers(0, length - 1)).map(sorted), max_size=5))

    assert sum(survival_depths(length, blocks)) == sum(map(len, blocks))
    assert sum(kept_shares(length, blocks)) == pytest.approx(sum(map(len, blocks)) / length)


@pytest.mark.parametrize("position", [-1, 5])
def test_a_position_outside_the_text_is_refused(position: int) -> None:
    with pytest.raises(SettingError, match=rf"Given: {position}\. Give positions from 0 to 4\."):
        survival_depths(5, [[position]])


def test_text_is_coloured_by_depth_and_joined_to_words() -> None:
    text = survivors_text(TOKENS, SURVIVORS)

    assert text.plain.startswith("[CLS] a wonder [SEP]\n")
    assert style_of(text, "a").endswith(depth_colour(0))
    assert style_of(text, "won").endswith(depth_colour(2 / 3))
    assert style_of(text, "[CLS]").startswith("italic")
    assert style_of(text, "[CLS]").endswith(depth_colour(1))


def test_the_legend_names_the_blocks_in_words_and_numbers() -> None:
    legend = survivors_text(TOKENS, SURVIVORS).plain.partition("\n\n")[2]

    assert "dropped by block  1  2  3 " in legend
    assert "kept to the end" in legend


def test_markup_in_a_text_stays_text() -> None:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(survivors_text(["[bold]x[/bold]", "<b>"], [[0, 1]]))

    assert "[bold]x[/bold]" in captured.get()


def test_the_map_shows_every_token_where_there_is_room() -> None:
    lines = survivors_map_text(5, SURVIVORS).plain.splitlines()

    assert "█·███" in lines[1]
    assert "4 (80%)" in lines[1]
    assert "█···█" in lines[3]
    assert "2 (40%)" in lines[3]


def test_the_map_of_a_long_text_shades_shares_and_never_hides_a_survivor() -> None:
    lines = survivors_map_text(1000, [list(range(1000)), [0, *range(500, 1000)], []], width=10).plain.splitlines()

    assert "█" * 10 in lines[1]
    assert "░····█████" in lines[2]
    assert "·" * 10 in lines[3]


@pytest.mark.parametrize("length", [1, 3, 81, 600])
def test_a_picture_is_a_png_of_sensible_size(tmp_path: Path, length: int) -> None:
    path = tmp_path / "new" / "map.png"
    survivors_picture([f"w{n}" for n in range(length)], [[0], [0]], path, "A $title$ with 電")

    width, height = png_size(path)
    assert 1000 <= width <= 3000
    assert 300 <= height <= 1600
    assert [file.name for file in path.parent.iterdir()] == ["map.png"]


def test_a_picture_leaves_no_global_state(tmp_path: Path) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    survivors_picture(TOKENS, SURVIVORS, tmp_path / "map.png", "Title")

    assert dict(matplotlib.rcParams) == before
    assert not hasattr(matplotlib, "pyplot") or not matplotlib.pyplot.get_fignums()


def test_an_empty_picture_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="at least one token and one block"):
        survivors_picture([], [], tmp_path / "map.png", "Title")

    assert not list(tmp_path.iterdir())
