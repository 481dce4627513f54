"""The texts of a bench, and how the measured processes get them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from rheostat.core.errors import DataError
from rheostat.core.workload import Data, Workload, task_of_workload
from rheostat.measure.bench.session import Texts

__all__ = ["check_data", "check_labels", "digest", "written"]


def check_data(workload: Workload, data: Data | None) -> None:
    """Refuse data that is for another task, or empty.

    Raises:
        DataError: If it is.
    """
    task = task_of_workload(workload.name)
    if data is not None and task is not None and data.texts.task != task:
        raise DataError(f"The workload {workload.name} reads data for {task}.", given=f"data for {data.texts.task}")
    if data is not None and not len(data.rows):
        raise DataError("A workload needs a row of data.", given=f"an empty split {data.split}")


def check_labels(names: Sequence[str] | None, data: Data | None) -> None:
    """Refuse data whose classes are not the bundle's.

    Raises:
        DataError: If they are not.
    """
    if names is None or data is None or data.texts.label_names is None:
        return
    if tuple(names) != tuple(data.texts.label_names):
        raise DataError(
            f"The data has the bundle's classes, in the bundle's order: {', '.join(names)}.",
            given=", ".join(data.texts.label_names),
            mend="Use data with the labels that the bundle was trained on.",
        )


def digest(data: Data) -> str:
    """Return a hash of the rows, 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(asdict(data.rows)).encode()).hexdigest()[:16]


@contextlib.contextmanager
def written(data: Data | None, workload: Workload) -> Iterator[Texts]:
    """Write the texts for the measured processes, for as long as they are needed."""
    if data is None:
        yield Texts()
        return
    with tempfile.TemporaryDirectory(prefix="rheostat-bench-") as folder:
        file = Path(folder) / "rows.json"
        file.write_text(json.dumps(asdict(data.rows)), encoding="utf-8")
        names = data.texts.label_names
        judged = None if workload.name == "train" else file
        yield Texts(file, judged, len(names) if names is not None else None)
