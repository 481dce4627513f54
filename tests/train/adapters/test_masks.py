"""The five masks against slow references."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rheostat.train.adapters.masks import NEED_GRADIENTS, choose_entries


def matrix(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def chosen(mask: str, weight: torch.Tensor, share: float, seed: int = 0) -> torch.Tensor:
    gradient = matrix(*weight.shape, seed=1) if mask in NEED_GRADIENTS else None
    return choose_entries(mask, weight, share, generator=torch.Generator().manual_seed(seed), gradient=gradient)


@given(
    mask=st.sampled_from(["structural", "random", "weight", "gradient", "snip"]),
    rows=st.integers(1, 120),
    columns=st.integers(1, 120),
    share=st.floats(0.001, 0.02),
)
def test_every_mask_keeps_the_share(mask: str, rows: int, columns: int, share: float) -> None:
    indices = chosen(mask, matrix(rows, columns), share)
    count = int(share * rows * columns)
    assert len(indices) <= count
    assert len(indices) == count or mask == "structural"
    assert bool((indices.diff() > 0).all())
    assert not len(indices) or (indices[0] >= 0 and indices[-1] < rows * columns)


@pytest.mark.parametrize(
    ("mask", "score"),
    [
        ("weight", lambda weight, gradient: abs(weight)),
        ("gradient", lambda weight, gradient: abs(gradient)),
        ("snip", lambda weight, gradient: abs(weight * gradient)),
    ],
)
def test_masks_by_score_take_the_largest(mask: str, score) -> None:
    weight, gradient = matrix(40, 30), matrix(40, 30, seed=1)
    scores = [score(w, g) for w, g in zip(weight.flatten().tolist(), gradient.flatten().tolist(), strict=True)]
    largest = sorted(range(1200), key=lambda at: -scores[at])[:24]
    assert chosen(mask, weight, 0.02).tolist() == sorted(largest)


def test_the_structural_mask_is_rows_columns_and_the_diagonal() -> None:
    """384 x 384 at 2 %: 2,949 entries are three rows, three columns and the diagonal, and no further line."""
    indices = chosen("structural", matrix(384, 384), 0.02)
    dense = torch.zeros(384 * 384, dtype=torch.bool).index_fill(0, indices, True).view(384, 384)
    assert bool(dense.diagonal().all())
    rows, columns = dense.all(1).nonzero().flatten().tolist(), dense.all(0).nonzero().flatten().tolist()
    assert rows == columns == [0, 128, 256]
    dense[rows], dense[:, columns] = False, False
    dense.fill_diagonal_(False)
    assert not bool(dense.any())


def test_of_a_small_matrix_the_structural_mask_takes_a_part_of_the_diagonal() -> None:
    indices = chosen("structural", matrix(32, 32), 0.02)
    assert len(indices) == 20
    assert bool((indices % 33 == 0).all())


def test_a_random_mask_follows_its_seed() -> None:
    weight = matrix(50, 50)
    assert torch.equal(chosen("random", weight, 0.02), chosen("random", weight, 0.02))
    assert not torch.equal(chosen("random", weight, 0.02), chosen("random", weight, 0.02, seed=1))
