"""Who is read at all, known before the first block: by what a token says about the task, or by where it stands.

What each token of the vocabulary says is a table, which lies on a model, see `rheostat.models.tables`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from rheostat.core.errors import SettingError
from rheostat.models.families import locate
from rheostat.models.tables import put_table, stored_table, table_of, write_table

__all__ = [
    "NEIGHBOUR",
    "SALIENCE",
    "TAIL",
    "end_scores",
    "read_salience",
    "salience_of",
    "salience_scores",
    "set_salience",
    "write_salience",
]

NEIGHBOUR: Final = 0.5
"""What a token has of the salience of the one beside it, where that is more than its own: "not" goes with "good"."""

TAIL: Final = 4
"""Of a text of which only the ends are read: tokens from its end, for each token from its beginning."""

SALIENCE: Final = "salience"
"""What the table is called on a base model, see `rheostat.models.tables.table_of`."""


def set_salience(model: nn.Module, table: torch.Tensor | None) -> None:
    """Put a table on a model, in place of an earlier one; None takes it off.

    Args:
        model: A Transformers model of a supported family.
        table: At least 0, float32 ``[vocabulary]``, by token id; infinite for a token that is always read.

    Raises:
        SettingError: If it has another shape or type, a negative number, or one that is none.
    """
    if table is None:
        put_table(model, SALIENCE, None)
        return
    base: Any = locate(model).base
    rows = base.config.get_text_config().vocab_size
    fits = table.ndim == 1 and table.dtype == torch.float32 and len(table) <= rows
    if not fits or not bool((table >= 0).all()):
        raise SettingError(
            f"A table of salience has a number from 0 for each token id, at most {rows} of them.",
            given=f"{tuple(table.shape)} of {table.dtype}" if not fits else "negative ones, or nan",
            mend="Make it with rheostat.train.salience.learn_salience.",
        )
    put_table(model, SALIENCE, table)


def salience_of(model: nn.Module) -> torch.Tensor | None:
    """Return the table that lies on a model, or None."""
    return table_of(locate(model).base, SALIENCE)


def write_salience(folder: Path, model: nn.Module) -> None:
    """Write a model's table into the folder of its weights; nothing where it has none."""
    write_table(folder, model, SALIENCE)


def read_salience(folder: Path, model: nn.Module) -> None:
    """Put on a model the table that lies in the folder of its weights; nothing where there is none.

    Raises:
        SettingError: If it is not for this model.
    """
    if (table := stored_table(folder, SALIENCE)) is not None:
        set_salience(model, table)


def salience_scores(table: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return how much each token says: its own salience, or `NEIGHBOUR` of that beside it, whichever is more.

    Args:
        table: As for `set_salience`.
        ids: Token ids ``[batch, length]``; those beyond the table's end say nothing.
        mask: Which columns are real, bool ``[batch, length]``; None where all are.

    Returns:
        Float32 ``[batch, length]``; a row's scores depend on its real tokens alone.

    Example:
        >>> salience_scores(torch.tensor([0.0, 4.0, 1.0]), torch.tensor([[0, 0, 1, 2, 0]]), None)
        tensor([[0.0000, 2.0000, 4.0000, 2.0000, 0.5000]])
    """
    own = torch.where(ids < len(table), table[ids.clamp(max=len(table) - 1)], 0.0)
    lent = own.masked_fill(own.isinf(), 0.0)
    if mask is not None:
        lent = lent.masked_fill(~mask, 0.0)
    lent = NEIGHBOUR * torch.nn.functional.pad(lent, (1, 1))
    return torch.maximum(own, torch.maximum(lent[:, :-2], lent[:, 2:]))


def end_scores(free: torch.Tensor) -> torch.Tensor:
    """Return how near each token is to an end of its row; `TAIL` tokens at the end count as one at the beginning.

    Whoever keeps the best of a row keeps its beginning and its end, and drops one stretch between them.

    Args:
        free: Which columns hold real tokens that may be dropped, bool ``[batch, length]``; the others count nothing,
            and get no meaningful score.

    Returns:
        Float32 ``[batch, length]``, at most 0.

    Example:
        >>> end_scores(torch.ones((1, 9), dtype=torch.bool))
        tensor([[ 0., -4., -6., -5., -4., -3., -2., -1.,  0.]])
    """
    before = free.long().cumsum(1) - 1
    after = free.sum(1, keepdim=True) - 1 - before
    return (-torch.minimum(TAIL * before, after)).float()
