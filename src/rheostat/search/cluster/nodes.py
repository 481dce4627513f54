"""The machines of a Ray cluster: reaching them, and the worker that runs on each."""

from __future__ import annotations

import hashlib
import io
import socket
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rheostat.core.errors import RheostatError
from rheostat.core.extras import require
from rheostat.core.knob import Value
from rheostat.core.machine import machine_facts
from rheostat.search.evaluator import Evaluator, Request

__all__ = ["Worker", "connect", "digests", "nodes", "packed", "ray", "start_worker", "unpack"]

REACH_SECONDS = 5.0


def ray() -> Any:
    """Return the package ray.

    Raises:
        RheostatError: If it is not installed.
    """
    return require("ray", extra="ray")


def connect(address: str | None) -> bool:
    """Connect this process to a cluster.

    Args:
        address: ``HOST:PORT`` of its head, or None for the one that runs on this machine or that
            the environment variable ``RAY_ADDRESS`` names.

    Returns:
        Whether it was connected here; False where the caller has done so before.

    Raises:
        RheostatError: If it cannot be reached.
    """
    if ray().is_initialized():
        return False
    try:
        if address is not None:
            _knock(address)
        ray().init(address=address or "auto", log_to_driver=False, logging_level="error")
    except (ConnectionError, OSError, ValueError, RuntimeError) as error:
        raise RheostatError(
            "The Ray cluster that measures is reached.",
            given=f"{address or 'the one of this machine'} ({error})",
            mend="Start it: ray start --head; on each other machine: ray start --address=HOST:6379.",
        ) from error
    return True


def nodes() -> dict[str, float]:
    """Return the machines that are there and take work: their id, and their processors as Ray counts them."""
    found = {node["NodeID"]: node.get("Resources", {}).get("CPU", 0.0) for node in ray().nodes() if node["Alive"]}
    return {name: processors for name, processors in sorted(found.items()) if processors > 0}


class Worker:
    """What runs on one machine of the cluster: an evaluator, made there when it is first needed.

    Args:
        make: Makes the evaluator.
    """

    def __init__(self, make: Callable[[], Evaluator]) -> None:
        self._make = make
        self._made: Evaluator | None = None

    def about(self, probe: str) -> dict[str, Any]:
        """Return facts about the machine, and whether it sees the file ``probe``."""
        return {"machine": machine_facts(), "shared": Path(probe).is_file()}

    def evaluate(self, requests: list[tuple[dict[str, Value], float]]) -> Iterator[dict[str, Any]]:
        """Yield the measurements of requests, as plain data."""
        asked = [Request(configuration, fidelity) for configuration, fidelity in requests]
        for measurement in self._evaluator.evaluate(asked):
            yield measurement.to_json()

    def price(self, configuration: Mapping[str, Value], fidelity: float) -> float:
        """Return the seconds that a measurement would take here."""
        return self._evaluator.price(configuration, fidelity)

    def bundle(self, configuration: Mapping[str, Value]) -> tuple[str, dict[str, str]]:
        """Return where the bundle of a configuration lies here, and the digests of its files."""
        folder = self._evaluator.bundle(configuration).resolve()
        return str(folder), digests(folder)

    def packed(self, folder: str) -> bytes:
        """Return the content of a folder."""
        return packed(Path(folder))

    def close(self) -> None:
        """End what runs."""
        if self._made is not None:
            self._made.close()

    @property
    def _evaluator(self) -> Evaluator:
        if self._made is None:
            self._made = self._make()
        return self._made


def start_worker(node: str, processors: float, make: Callable[[], Evaluator]) -> Any:
    """Return a worker that has a machine's processors to itself: nothing else of the cluster disturbs its timing."""
    strategies = require("ray.util.scheduling_strategies", extra="ray")
    here = strategies.NodeAffinitySchedulingStrategy(node_id=node, soft=False)
    actor = ray().remote(num_cpus=processors, scheduling_strategy=here, max_restarts=0, max_task_retries=0)(Worker)
    return actor.remote(make)


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a folder by its path in it; empty where there is no folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def packed(folder: Path) -> bytes:
    """Return the content of a folder as an archive."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.add(folder, arcname=".")
    return content.getvalue()


def unpack(content: bytes, folder: Path) -> None:
    """Write what `packed` made to a folder; nothing outside of it is touched."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(folder, filter="data")


def _knock(address: str) -> None:
    """Try the port, for Ray itself goes on trying for a minute."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError("an address is HOST:PORT")
    with socket.create_connection((host, int(port)), timeout=REACH_SECONDS):
        pass
