import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.core.errors import MeasurementError
from rheostat.core.schedule import keep_counts
from rheostat.measure.macs import (
    BlockCost,
    Macs,
    ModelCost,
    Plan,
    Visible,
    batch_macs,
    decoding_macs,
    macs_ratio,
    planned_row,
    row_macs,
    visible_pairs,
)

columns = st.sets(st.integers(0, 200), max_size=60).map(sorted)
visibles = st.builds(Visible, st.booleans(), st.none() | st.integers(1, 250))


CAUSAL = Visible(causal=True)


def cost(blocks: int = 4, visible: Visible = CAUSAL) -> ModelCost:
    return ModelCost(tuple(BlockCost(300, 700, 4, 8, visible) for _ in range(blocks)), head=50)


@given(columns, visibles)
def test_visible_pairs_against_counting_them(states, visible):
    def sees(query: int, key: int) -> bool:
        near = visible.window is None or abs(query - key) < visible.window
        return near and (key <= query or not visible.causal)

    assert visible_pairs(states, visible) == sum(sees(query, key) for query in states for key in states)


def test_a_row_by_hand():
    found = row_macs(cost(2), [range(4), [0, 2, 3], [2, 3]], output_rows=2)
    assert found == Macs(
        attention_linear=300 * (4 + 3),
        attention_core=2 * 4 * 8 * (10 + 6),
        feed_forward=700 * (3 + 2),
        head=50 * 2,
        scoring=4 * (10 + 6),
    )
    assert found.total == 2100 + 1024 + 3500 + 100


def test_a_block_that_drops_nothing_scores_nothing():
    assert row_macs(cost(2), [range(4), range(4), [0, 1]]).scoring == 4 * 10


def test_survivors_of_a_batch_are_counted_row_by_row():
    model = cost(2)
    survivors = [[[0, 1, 3], [4, 5]], [[0, 3], [5]]]
    both = batch_macs(model, [4, 2], survivors)
    assert both == row_macs(model, [range(4), [0, 1, 3], [0, 3]]) + row_macs(model, [range(2), [4, 5], [5]])


def test_no_survivors_means_the_plain_model():
    assert batch_macs(cost(2), [3, 0], []) == row_macs(cost(2), [range(3)] * 3)


@given(st.integers(1, 300), st.floats(0.01, 1.0), st.integers(1, 12), st.integers(1, 9), st.floats(0.0, 4.0))
def test_arithmetic_agrees_with_survivors_where_windows_play_no_part(length, rate, blocks, floor, decay):
    model = cost(blocks)
    counts = keep_counts(length, rate, floor, blocks, decay=decay)
    counted = batch_macs(model, [length], [[list(range(count))] for count in counts])
    plain = batch_macs(model, [length], [])
    assert macs_ratio(model, [length], Plan(rate, floor, decay=decay)) == plain.total / counted.total


@given(
    st.lists(st.integers(1, 200), min_size=1, max_size=4),
    st.floats(0.01, 1.0),
    st.floats(0.01, 1.0),
    visibles,
)
def test_keeping_less_never_costs_more(lengths, one, other, visible):
    model = cost(6, Visible(visible.causal))
    less, more = sorted((one, other))
    assert macs_ratio(model, lengths, Plan(less)) >= macs_ratio(model, lengths, Plan(more)) >= 1.0


def test_neutral_is_one_and_a_lower_floor_saves_more():
    assert macs_ratio(cost(), [77, 3], Plan()) == 1.0
    assert macs_ratio(cost(), [100], Plan(0.1, floor=1)) > macs_ratio(cost(), [100], Plan(0.1, floor=20))


def test_blocks_that_did_not_run_cost_nothing():
    everything = [[[0, 1, 2]], [[0, 1, 2]]]
    assert (
        batch_macs(cost(4), [3], everything) == batch_macs(cost(2), [3], []) == planned_row(cost(4), 3, Plan(depth=2))
    )
    assert decoding_macs(cost(4), [3], everything, 5) == decoding_macs(cost(2), [3], [], 5)


def test_what_does_not_fit_is_refused():
    with pytest.raises(MeasurementError, match="3 of 2 blocks"):
        batch_macs(cost(2), [3], [[[0]], [[0]], [[0]]])
    with pytest.raises(MeasurementError, match="one per row"):
        batch_macs(cost(2), [3], [[[0]], [[0], [1]]])
    with pytest.raises(MeasurementError, match="at least one token"):
        macs_ratio(cost(2), [0], Plan())
