"""The ledger of a cache whose tokens went to different depths."""

from __future__ import annotations

from rheostat.core.ledger import COPIED, EXACT, FILLED, PRUNED, Ledger


def test_columns_are_marked_block_by_block_and_forgotten_from_the_end() -> None:
    ledger = Ledger(3)
    ledger.extend(4)
    ledger.mark(range(3), range(4), EXACT)
    ledger.mark([1, 2], [1], PRUNED)
    ledger.extend(2)
    ledger.mark([0], [4, 5], EXACT)
    ledger.mark([1], [4], FILLED)
    ledger.mark([2], [4], COPIED)
    assert len(ledger) == 6
    assert ledger.of(1) == ("exact", "pruned", "exact", "exact", "filled", "missing")
    assert ledger.held(0) == [0, 1, 2, 3, 4, 5]
    assert ledger.held(2) == [0, 2, 3, 4]
    assert ledger.counts() == [
        {"exact": 6},
        {"exact": 3, "filled": 1, "pruned": 1, "missing": 1},
        {"exact": 3, "copied": 1, "pruned": 1, "missing": 1},
    ]
    ledger.forget(5)
    assert ledger.held(0) == [0, 1, 2, 3, 4]
    assert len(ledger) == 5
