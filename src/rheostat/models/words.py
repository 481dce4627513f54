"""What a text's words say about its label by themselves: a linear model beside the model, as a table of token ids.

The table lies on a model, see `rheostat.models.tables`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from rheostat.core.errors import SettingError
from rheostat.models.families import locate
from rheostat.models.tables import has_table, put_table, stored_table, table_of, write_table

__all__ = ["has_words", "read_words", "set_words", "word_logits", "words_of", "write_words"]

_NAME: Final = "words"


def set_words(model: nn.Module, table: torch.Tensor | None) -> None:
    """Put a table on a model, in place of an earlier one; None takes it off.

    Args:
        model: A Transformers classifier of a supported family.
        table: Float32 ``[ids + 1, classes + 1]``, of at most as many ids as the model has: a row for each token id,
            with what it adds for each class and, last, what it adds to the square of the text's length; and a last row
            with the bias of each class, and 0.

    Raises:
        SettingError: If it has another shape or type, a number that is not finite, or a negative square.
    """
    if table is None:
        put_table(model, _NAME, None)
        return
    base: Any = locate(model).base
    rows, classes = base.config.get_text_config().vocab_size, base.config.num_labels
    fits = table.ndim == 2 and table.dtype == torch.float32 and 1 < len(table) <= rows + 1
    if not fits or table.shape[1] != classes + 1:
        raise SettingError(
            f"A table of words has at most {rows} token ids and a bias, with {classes} classes and a square for each.",
            given=f"{tuple(table.shape)} of {table.dtype}",
            mend="Make it with rheostat.train.words.learn_words.",
        )
    if not bool(table.isfinite().all()) or bool((table[:, -1] < 0).any()):
        raise SettingError("A table of words holds finite numbers, and squares from 0.", given="others")
    put_table(model, _NAME, table)


def words_of(model: nn.Module) -> torch.Tensor | None:
    """Return the table that lies on a model, or None."""
    return table_of(locate(model).base, _NAME)


def write_words(folder: Path, model: nn.Module) -> None:
    """Write a model's table into the folder of its weights; nothing where it has none."""
    write_table(folder, model, _NAME)


def has_words(folder: Path) -> bool:
    """Whether a table lies in the folder of a model's weights."""
    return has_table(folder, _NAME)


def read_words(folder: Path, model: nn.Module) -> None:
    """Put on a model the table that lies in the folder of its weights; nothing where there is none.

    Raises:
        SettingError: If it is not for this model.
    """
    if (table := stored_table(folder, _NAME)) is not None:
        set_words(model, table)


def word_logits(table: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return what the words of each row say about its label.

    Each token id counts once a row: the sum of what they add, by the length of the row as a vector of TF-IDF, and the
    bias.

    Args:
        table: As for `set_words`.
        ids: Token ids ``[batch, length]``; those beyond the table's end say nothing.
        mask: Which columns are real, bool ``[batch, length]``; None where all are.

    Returns:
        Float32 ``[batch, classes]``; a row's logits depend on its real tokens alone.

    Example:
        >>> table = torch.tensor([[0.0, 3.0, 9.0], [4.0, 0.0, 16.0], [0.5, 0.0, 0.0]])
        >>> word_logits(table, torch.tensor([[0, 1, 1], [1, 1, 1]]), None)
        tensor([[1.3000, 0.6000],
                [1.5000, 0.0000]])
    """
    nothing = len(table) - 1
    known = ids.masked_fill(ids >= nothing, nothing)
    if mask is not None:
        known = known.masked_fill(~mask, nothing)
    known = known.sort(dim=1).values
    again = torch.nn.functional.pad(known[:, 1:] == known[:, :-1], (1, 0))
    counted = (known < nothing) & ~again
    said = torch.where(counted[..., None], table[known].float(), 0.0).sum(dim=1)
    return said[:, :-1] / said[:, -1:].clamp(min=1e-12).sqrt() + table[-1, :-1].float()
