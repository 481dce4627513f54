"""The measured process: it does what it is told on standard input, one JSON line an order, and measures itself.

Run: python -m rheostat.measure.bench.worker. Orders: ``load``, ``warm``, ``turn``, ``describe``, ``judge``,
``tasks``.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import torch

from rheostat.core.errors import RheostatError
from rheostat.core.text import Split
from rheostat.core.workload import Workload
from rheostat.measure.bench.judging import judge
from rheostat.measure.bench.process import resident_bytes
from rheostat.measure.bench.subject import load_subject, nominal_bits
from rheostat.measure.bench.works import Work, make_work
from rheostat.measure.probes.probe import PeakResidentMemory
from rheostat.models.low_precision import weight_bytes

__all__ = ["Workbench", "main", "obeyed", "volunteer"]

_WINDOW = 5
_FEWEST = 3


class Workbench:
    """What one process measures: a subject and its work."""

    def __init__(self) -> None:
        self._work: Work | None = None
        self._splits: dict[str, Split | None] = {}

    def load(self, order: dict[str, Any]) -> dict[str, Any]:
        """Load the subject and its requests."""
        workload = Workload(**order["workload"])
        # A head that was never trained is drawn at random: the same one in every process.
        torch.manual_seed(workload.seed)
        self._splits = {name: _split(order.get(name)) for name in ("timed", "judged")}
        before = resident_bytes(os.getpid())
        subject = load_subject(order["source"], order["configuration"], workload, order.get("classes"), order["device"])
        after = resident_bytes(os.getpid())
        self._work = make_work(subject, workload, self._splits["timed"])
        model: Any = subject.model
        return {
            "load_time": subject.load_time,
            "resident_before": before,
            "resident_after": after,
            "threads": torch.get_num_threads(),
            "label_names": subject.label_names,
            "type": model.config.model_type,
            "dtype": str(model.dtype).removeprefix("torch."),
            "techniques": [technique.to_json() for technique in subject.handle.techniques],
        }

    def warm(self, order: dict[str, Any]) -> dict[str, Any]:
        """Run requests until their times have settled, the first one apart; then forget the peak of memory so far."""
        times: list[float] = []
        requests = self.work.requests
        first = self.work.run(requests[0])["latency"]
        start = time.monotonic()
        while len(times) < order["requests"] and (len(times) < _FEWEST or time.monotonic() - start < order["seconds"]):
            times.append(sum(self.work.run(request)["latency"] for request in requests))
            if len(times) >= _WINDOW and pstdev(times[-_WINDOW:]) < order["settled"] * fmean(times[-_WINDOW:]):
                break
        pid = os.getpid()
        # The peak of the whole life is read before it is forgotten.
        peak = PeakResidentMemory(pid).read()
        return {
            "first_call": first,
            "times": times,
            "peak": peak,
            "peak_reset": PeakResidentMemory(pid).reset(),
        }

    def turn(self, order: dict[str, Any]) -> dict[str, Any]:
        """Run all requests some times: one untimed request first, since the other process had the caches meanwhile."""
        requests = self.work.requests
        touched = self.work.touch()
        start, faults = time.monotonic(), _page_faults()
        passes = [[self.work.run(request) for request in requests] for _ in range(order["passes"])]
        seconds = time.monotonic() - start
        return {"passes": passes, "seconds": seconds, "touched": touched, "faults": _page_faults() - faults}

    def describe(self, order: dict[str, Any]) -> dict[str, Any]:
        """Count what does not depend on time."""
        work = self.work
        requests = work.requests
        return {
            "rows": [work.rows(request) for request in requests],
            "tokens": [work.tokens(request) for request in requests],
            "macs": [work.macs(request) for request in requests],
            "cache": work.cache(requests[0]),
            "weights": weight_bytes(work.subject.model),
            "parameters": sum(parameter.numel() for parameter in work.subject.model.parameters()),
            "bits": nominal_bits(work.subject),
            "report": work.subject.handle.report(),
        }

    def judge(self, order: dict[str, Any]) -> dict[str, Any]:
        """Answer the rows that quality is judged on."""
        return {"answers": judge(self.work.subject, self.work.workload, self._splits["judged"])}

    def tasks(self, order: dict[str, Any]) -> dict[str, Any]:
        """Run tasks of lm-evaluation-harness."""
        from rheostat.measure.harness import Tasks, run_tasks

        found = run_tasks(self.work.subject, Tasks(**{**order["tasks"], "names": tuple(order["tasks"]["names"])}))
        return {"metrics": {name: metric.to_json() for name, metric in found.items()}}

    @property
    def work(self) -> Work:
        """The work that was loaded."""
        if self._work is None:
            raise RheostatError("A subject is loaded before it works.", given="no load order")
        return self._work


def main() -> None:
    """Obey until standard input ends."""
    # What libraries print must not disturb the replies.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    volunteer()
    bench = Workbench()
    orders: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        name: getattr(bench, name) for name in ("load", "warm", "turn", "describe", "judge", "tasks")
    }
    for line in sys.stdin:
        order = json.loads(line)
        replies.write(json.dumps(obeyed(orders[order["order"]], order)) + "\n")
        replies.flush()


def obeyed(obey: Callable[[dict[str, Any]], dict[str, Any]], order: dict[str, Any]) -> dict[str, Any]:
    """Return the reply to an order; an error is a reply, too, and the process goes on."""
    try:
        return obey(order)
    except (MemoryError, torch.OutOfMemoryError) as error:
        return _failed("out-of-memory", error)
    except RuntimeError as error:
        short = "can't allocate memory" in str(error) or "not enough memory" in str(error)
        return _failed("out-of-memory" if short else "failed", error)
    except Exception as error:  # noqa: BLE001 - whatever a model raises is a result, and the rest goes on
        return _failed("failed", error)


def _failed(status: str, error: BaseException) -> dict[str, Any]:
    text = str(error).strip().splitlines()
    reason = str(error) if isinstance(error, RheostatError) else f"{type(error).__name__}: {text[0] if text else ''}"
    return {"error": {"status": status, "reason": reason}}


def _page_faults() -> int:
    """Return how often this process has been given a page of memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _split(path: str | None) -> Split | None:
    return None if path is None else Split(**json.loads(Path(path).read_text(encoding="utf-8")))


def volunteer() -> None:
    """Ask the kernel to end this process first where memory runs out, not the one that keeps the results."""
    try:
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    except OSError:
        # Not Linux, or not allowed: the limit of the other process still holds.
        return


if __name__ == "__main__":
    main()
