"""Help for names that nobody knows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rheostat.core.names import suggest


def test_the_nearest_name_comes_first() -> None:
    assert suggest("token", ["tokens", "depth"]) == "Did you mean 'tokens'? Known: depth, tokens."


def test_without_a_near_name_there_is_no_guess() -> None:
    assert suggest("zzz", ["tokens", "depth"]) == "Known: depth, tokens."


def test_an_iterator_will_do() -> None:
    assert suggest("dept", iter(["tokens", "depth"])) == "Did you mean 'depth'? Known: depth, tokens."


@given(st.text(max_size=12), st.lists(st.text(min_size=1, max_size=8), max_size=6))
def test_every_known_name_is_listed(unknown: str, known: list[str]) -> None:
    text = suggest(unknown, known)
    assert text.endswith(f"Known: {', '.join(sorted(known))}.")
    if unknown in known:
        assert text.startswith(f"Did you mean '{unknown}'?")
