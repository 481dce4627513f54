from __future__ import annotations

import pytest

from rheostat.report.palette import GONE, MIDDLE_BLUE, THERE, contrast, depth_colour, ink_on


def test_lightness_rises_with_depth() -> None:
    against_black = [contrast(depth_colour(step / 20), "#000000") for step in range(21)]

    assert against_black == sorted(against_black)
    assert len(set(against_black)) == 21


@pytest.mark.parametrize("step", range(21))
def test_letters_are_readable_on_every_colour(step: int) -> None:
    ground = depth_colour(step / 20)

    assert contrast(ink_on(ground), ground) >= 4.5


def test_shares_beyond_the_ends_are_clipped() -> None:
    assert depth_colour(-1) == depth_colour(0)
    assert depth_colour(2) == depth_colour(1)


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#777777") == pytest.approx(1)
    # https://webaim.org/resources/contrastchecker gives 4.54 for this grey on white.
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


def test_pictures_tell_their_two_colours_apart_also_in_grey() -> None:
    assert contrast(THERE, GONE) >= 4.5
    assert min(contrast(MIDDLE_BLUE, "#ffffff"), contrast(MIDDLE_BLUE, "#14181d")) >= 3
