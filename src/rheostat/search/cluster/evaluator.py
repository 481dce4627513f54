"""An evaluator that lets every machine of a Ray cluster measure, and gives what a lost machine had to the others."""

from __future__ import annotations

import hashlib
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rheostat.core.errors import RheostatError, SettingError
from rheostat.core.knob import Value
from rheostat.core.measurement import Measurement
from rheostat.search.cluster.nodes import connect, digests, nodes, ray, start_worker, unpack
from rheostat.search.cluster.queue import Queue, Ticket, Training
from rheostat.search.evaluator import Evaluator, Request
from rheostat.search.parts import parts_of

__all__ = ["ClusterEvaluator", "ClusterOptions", "trained_part"]

_ALIKE = ("cpu", "cores")
_CLOSE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """How a cluster is used.

    Attributes:
        address: ``HOST:PORT`` of its head; None for the one that runs on this machine or that ``RAY_ADDRESS`` names.
        workers: Machines at most, one worker each; None for all.
        most_losses: A request over which so many workers were lost is recorded as failed.
        patience: Seconds to wait for a machine to be free, or, where none is left, for one to come back.
        mixed: Take machines with different processors, too; times from one then say little about another.

    Raises:
        SettingError: If a number is out of range.
    """

    address: str | None = None
    workers: int | None = None
    most_losses: int = 3
    patience: float = 60.0
    mixed: bool = False

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("most_losses", 1), ("patience", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise SettingError(f"'{name}' is {least} or more.", given=value)


def trained_part(configuration: Mapping[str, Value]) -> Mapping[str, Value]:
    """Return the part of a configuration that is trained.

    Example:
        >>> trained_part({"recipe": "plain", "tokens": 0.5})
        {'recipe': 'plain'}
    """
    return parts_of(configuration).training


class ClusterEvaluator:
    """Lets every machine of a Ray cluster measure; see `rheostat.search.evaluator.Evaluator`.

    Each machine runs one worker, which has all of its processors, and each worker an evaluator of its own. A training
    is made once: its requests go to the worker that made it; where the workers see the study's folder, the others run
    the trained bundle, too. Results are those of the workers' evaluators, in the order in which they are ready.

    Where a machine is lost, its requests go to the others; one over which `ClusterOptions.most_losses` workers were
    lost becomes a failed measurement. Where no machine is left, that is an error: nothing is said of what was not
    measured.

    Args:
        make: Makes a worker's evaluator, on the worker's machine; what it holds is pickled.
        folder: The study's folder; bundles that lie on another machine are copied into it.
        options: How the cluster is used.
        training: The part of a configuration that is trained.

    Raises:
        RheostatError: If Ray is not installed, the cluster cannot be reached, or none of its machines is free.
        SettingError: If the machines differ.
    """

    def __init__(
        self,
        make: Callable[[], Evaluator],
        folder: Path,
        options: ClusterOptions | None = None,
        training: Training = trained_part,
    ) -> None:
        self._make, self._folder, self._options = make, folder, options or ClusterOptions()
        self._queue = Queue(training, shared=True, most_losses=self._options.most_losses)
        self._workers: dict[str, Any] = {}
        self._jobs: dict[str, Any] = {}
        self._machine: dict[str, Any] | None = None
        self._connected = connect(self._options.address)
        try:
            self._enlist()
        except BaseException:
            self.close()
            raise

    @property
    def workers(self) -> int:
        """How many machines measure."""
        return len(self._workers)

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Measurement]:
        """Yield a measurement for each request, as soon as one is ready.

        Raises:
            RheostatError: What the workers' evaluator raised, or if it cannot be made on their machines, or if no
                machine is left.
        """
        self._queue.add(requests)
        try:
            # Machines may have come, or come back, since the last time.
            self._enlist()
            while self._jobs or not self._queue.empty:
                self._hand_out()
                if self._jobs:
                    yield from self._next()
                else:
                    self._wait_for_a_machine()
        finally:
            self._abandon()

    def price(self, configuration: Mapping[str, Value], fidelity: float = 1.0) -> float:
        """Return the seconds that measuring it would take now, by what its worker has seen; waits for the worker."""
        return float(self._ask(self._queue.key(configuration, fidelity), "price", dict(configuration), fidelity))

    def bundle(self, configuration: Mapping[str, Value]) -> Path:
        """Return the trained bundle that a configuration runs, on this machine; it is trained where it is not there.

        Raises:
            RheostatError: If it cannot be trained, or if no machine is left.
        """
        key = self._queue.key(configuration)
        where, files = self._ask(key, "bundle", dict(configuration))
        if files and digests(Path(where)) == files:
            return Path(where)
        target = self._folder / "trainings" / f"copy-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
        if digests(target) != files:
            temporary = target.with_name(f"{target.name}-{uuid.uuid4().hex}")
            unpack(self._ask(key, "packed", where), temporary)
            shutil.rmtree(target, ignore_errors=True)
            temporary.rename(target)
        return target

    def close(self) -> None:
        """End the workers; disconnect where this evaluator connected."""
        self._abandon()
        if self._workers:
            closing = [worker.close.remote() for worker in self._workers.values()]
            ray().wait(closing, num_returns=len(closing), timeout=_CLOSE_SECONDS)
        for name in list(self._workers):
            self._dismiss(name)
        if self._connected:
            ray().shutdown()
            self._connected = False

    def _enlist(self) -> None:
        """Start a worker on each machine that is there and has none."""
        most = self._options.workers
        places = [(name, count) for name, count in nodes().items() if name not in self._workers]
        new = places if most is None else places[: max(0, most - len(self._workers))]
        started = {name: start_worker(name, count, self._make) for name, count in new}
        for name, facts in self._introduced(started).items():
            self._check_alike(facts["machine"])
            self._workers[name] = started[name]
            self._queue.shared &= facts["shared"]
        if not self._workers:
            raise RheostatError(
                "A cluster has a machine whose processors are free.",
                given=f"{len(places)} machines, none free within {self._options.patience:g} seconds",
                mend="See what runs there: ray status.",
            )

    def _introduced(self, started: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return what new workers say of their machines; those that do not answer in time are left out."""
        if not started:
            return {}
        probe = self._folder / f".seen-{uuid.uuid4().hex}"
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        try:
            asked = {name: worker.about.remote(str(probe.resolve())) for name, worker in started.items()}
            ready, late = ray().wait(list(asked.values()), num_returns=len(asked), timeout=self._options.patience)
            found = {name: self._answer(reply) for name, reply in asked.items() if reply in ready}
        finally:
            probe.unlink()
        for name in [name for name, reply in asked.items() if reply in late or found[name] is None]:
            ray().kill(started[name])
        return {name: facts for name, facts in found.items() if facts is not None}

    def _answer(self, reply: Any) -> Any:
        """Return a reply, or None where its machine was lost; what a worker raised is raised here."""
        errors = ray().exceptions
        try:
            return ray().get(reply)
        except errors.RayTaskError as error:
            raise _raised(error) from error
        except errors.RayError:
            return None

    def _check_alike(self, machine: dict[str, Any]) -> None:
        facts = {name: machine[name] for name in _ALIKE}
        self._machine = self._machine or facts
        if facts != self._machine and not self._options.mixed:
            raise SettingError(
                "The machines that measure for one study are alike: times from one say little about another.",
                given=f"{self._machine} and {facts}",
                mend="Start the cluster on machines of one kind, or allow mixed ones.",
            )

    def _hand_out(self) -> None:
        for name, worker in self._workers.items():
            tickets = self._queue.take(name, len(self._workers)) if name not in self._jobs else []
            if tickets:
                asked = [(dict(each.request.configuration), each.request.fidelity) for each in tickets]
                self._jobs[name] = worker.evaluate.options(num_returns="streaming").remote(asked)

    def _next(self) -> Iterator[Measurement]:
        """Wait until one worker has a result, is done or is lost."""
        ready, _ = ray().wait(list(self._jobs.values()), num_returns=1)
        name = next(name for name, job in self._jobs.items() if job is ready[0])
        try:
            reply = next(ready[0])
        except StopIteration:
            del self._jobs[name]
            for ticket in self._queue.leave(name):
                yield _failed(ticket, "the evaluator gave no result")
            return
        found = self._answer(reply)
        if found is None:
            yield from self._lost(name)
            return
        measurement = Measurement.from_json(found)
        if self._queue.finish(name, measurement):
            yield measurement

    def _lost(self, name: str) -> Iterator[Measurement]:
        self._dismiss(name)
        for ticket in self._queue.lose(name):
            yield _failed(ticket, f"its worker was lost {ticket.losses} times (a machine failed, or memory ran out)")

    def _wait_for_a_machine(self) -> None:
        until = time.monotonic() + self._options.patience
        while not nodes() and time.monotonic() < until:
            time.sleep(min(1.0, self._options.patience))
        self._enlist()

    def _ask(self, training: str, question: str, *values: Any) -> Any:
        """Return what the worker of a training answers, or any worker where it has none."""
        while self._workers:
            owner = self._queue.owner(training)
            name = owner if owner in self._workers else next(iter(self._workers))
            found = self._answer(getattr(self._workers[name], question).remote(*values))
            if found is not None:
                if question == "bundle":
                    self._queue.own(training, name)
                return found
            self._dismiss(name)
            self._queue.lose(name)
        raise RheostatError("A cluster has a machine that answers.", mend="See what runs there: ray status.")

    def _abandon(self) -> None:
        """Forget what waits, and end workers that still measure: nobody wants their results any more."""
        for name in list(self._jobs):
            self._dismiss(name)
            self._queue.lose(name)
        self._queue.clear()

    def _dismiss(self, name: str) -> None:
        self._jobs.pop(name, None)
        worker = self._workers.pop(name, None)
        if worker is not None:
            ray().kill(worker)


def _failed(ticket: Ticket, reason: str) -> Measurement:
    request = ticket.request
    return Measurement({}, dict(request.configuration), {"fidelity": request.fidelity}, {}, "failed", reason=reason)


def _raised(error: Any) -> Exception:
    """Return what a worker raised, as it would be raised without a cluster."""
    cause = error.cause
    if isinstance(cause, RheostatError):
        return cause
    return RheostatError(
        "What measures runs on each machine of the cluster.",
        given=f"{type(cause).__name__}: {cause}",
        mend="Install the same version of rheostat, with the same extras, on each.",
    )
