"""Our side of `benchmarks.peers`: a model or bundle in a process of its own, answering the peer's orders.

Run: python -m benchmarks.peers_ours (by `benchmarks.peers`, with orders on standard input).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers_driver import batches, obey
from rheostat.core.workload import Workload
from rheostat.measure.bench.subject import load_subject


class Bundled:
    """A model or bundle under a configuration."""

    def __init__(self, order: dict[str, Any]) -> None:
        workload = Workload("classify", max_length=order["max_length"])
        self._subject = load_subject(order["source"], order["configuration"], workload, None, "cpu")
        self._batches = {
            name: [{part: torch.from_numpy(ids) for part, ids in batch.items()} for batch, _ in batches(Path(path))]
            for name, path in order["rows"].items()
        }

    def run(self, name: str) -> dict[str, Any]:
        """Return the seconds of each batch."""
        return {"seconds": [self._timed(batch)[0] for batch in self._batches[name]]}

    def judge(self, name: str) -> dict[str, Any]:
        """Return the class found for each row."""
        return {"classes": [int(at) for batch in self._batches[name] for at in self._timed(batch)[1].argmax(-1)]}

    @torch.inference_mode()
    def _timed(self, batch: dict[str, torch.Tensor]) -> tuple[float, torch.Tensor]:
        start = time.perf_counter()
        logits = self._subject.model(**batch).logits
        return time.perf_counter() - start, logits


if __name__ == "__main__":
    obey(Bundled)
