"""The answers of a subject to the rows that quality is judged on."""

from __future__ import annotations

from typing import Any

from rheostat.core.errors import RheostatError
from rheostat.core.text import Split, TextData
from rheostat.core.workload import Data, Workload
from rheostat.measure.answers import answers_of_classifier, answers_of_language_model
from rheostat.measure.baselines import baselines
from rheostat.measure.bench.subject import Subject
from rheostat.measure.encoding import windows
from rheostat.measure.workload import sample

__all__ = ["judge", "judged_rows", "simple_models"]

WINDOWS = 32
_BATCH = 4


def judge(subject: Subject, workload: Workload, split: Split | None) -> dict[str, Any] | None:
    """Return a subject's answers as plain data; None where the workload has none.

    Args:
        subject: What answers, its dials turned.
        workload: ``classify`` names classes; ``prefill`` and ``generate`` go on with running texts.
        split: The rows; None where there is no data.
    """
    if split is None or workload.name == "train":
        return None
    if workload.name == "classify":
        return answers_of_classifier(subject, judged_rows(split, workload), batch_size=workload.rows).to_json()
    length = workload.prompt_tokens + workload.new_tokens
    chosen = windows(subject, split, length, workload.quality_rows or WINDOWS)
    return answers_of_language_model(subject, chosen, workload.prompt_tokens, batch_size=_BATCH).to_json()


def judged_rows(split: Split, workload: Workload) -> Split:
    """Return the rows of a classifier's split that quality is judged on."""
    return sample(split, workload.quality_rows, workload.seed)


def simple_models(data: Data, workload: Workload) -> dict[str, dict[str, float]]:
    """Return the accuracy of the majority class and of a linear model on the rows that are judged, where it can be had.

    Args:
        data: Its train split is learnt from.
        workload: How many rows are judged.
    """
    if not {"train", data.split} <= set(data.texts.splits) or data.split == "train":
        return {}
    splits = {"train": data.texts.split("train"), data.split: judged_rows(data.rows, workload)}
    try:
        return baselines(TextData(splits, "classification", data.texts.label_names), on=data.split)
    except RheostatError:
        # Without scikit-learn, say: a bench is not thrown away for that.
        return {}
