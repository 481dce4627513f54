"""Text data as plain lists: what training learns from and what measurements are taken on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from rheostat.core.errors import DataError, SettingError
from rheostat.core.names import suggest

__all__ = ["Split", "Task", "TextData"]

Task = Literal["classification", "causal-lm"]
"""What a model is asked to do: name the class of a text, or continue it."""


@dataclass(frozen=True, slots=True)
class Split:
    """The rows of one split, column by column; every column has one entry a row.

    Args:
        texts: The texts; the prompts, where a language model is to give answers.
        pairs: The second text of each row where the task is about pairs, or the answers to the prompts, else None.
        labels: Label ids that index ``TextData.label_names``, or None where there are no labels.
        chats: Where the prompts are conversations, the messages of each, ``role`` and ``content``, without the answer;
            ``texts`` holds what they say, line by line.

    Raises:
        DataError: If the columns differ in length.
    """

    texts: list[str]
    pairs: list[str] | None = None
    labels: list[int] | None = None
    chats: list[list[Mapping[str, str]]] | None = None

    def __post_init__(self) -> None:
        columns = {"texts": self.texts, "pairs": self.pairs, "labels": self.labels, "chats": self.chats}
        lengths = {name: len(column) for name, column in columns.items() if column is not None}
        if len(set(lengths.values())) > 1:
            raise DataError("Every column of a split has one entry a row.", given=lengths)

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Iterable[int]) -> Split:
        """Return a split of the given rows, in the given order.

        Example:
            >>> Split(["a", "b", "c"], labels=[0, 1, 0]).take([2, 1]).texts
            ['c', 'b']
        """
        order = list(rows)
        return Split(
            texts=[self.texts[row] for row in order],
            pairs=None if self.pairs is None else [self.pairs[row] for row in order],
            labels=None if self.labels is None else [self.labels[row] for row in order],
            chats=None if self.chats is None else [self.chats[row] for row in order],
        )


@dataclass(frozen=True, slots=True)
class TextData:
    """Texts for one task, in splits called train, validation and test.

    Args:
        splits: The splits by name.
        task: ``"classification"`` or ``"causal-lm"``.
        label_names: The name of each label id for classification, else None.
        notes: Sentences on what was dropped or held out while the data was read, for the user to see.

    Raises:
        DataError: If a classification split lacks labels, or a label id has no name.
    """

    splits: dict[str, Split]
    task: Task
    label_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.task != "classification":
            return
        if self.label_names is None:
            raise DataError("Classification data names its labels.", given="label_names=None")
        for name, split in self.splits.items():
            _check_labels(name, split, len(self.label_names))

    def split(self, name: str) -> Split:
        """Return a split by name.

        Raises:
            SettingError: If there is none of that name.

        Example:
            >>> len(TextData({"test": Split(["a", "b"])}, task="causal-lm").split("test"))
            2
        """
        if name not in self.splits:
            raise SettingError("The data has to have the split.", given=name, mend=suggest(name, self.splits))
        return self.splits[name]


def _check_labels(name: str, split: Split, classes: int) -> None:
    if split.labels is None:
        raise DataError("Every split of classification data has labels.", given=f"{name} without labels")
    strange = sorted({label for label in split.labels if not 0 <= label < classes})
    if strange:
        raise DataError(
            f"Label ids lie between 0 and {classes - 1}, one for each label name.",
            given=f"{strange} in {name}",
        )
