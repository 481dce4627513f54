"""Which worker measures what next: one training is made once, and what a lost worker had is given to the others."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from rheostat.core.knob import Value
from rheostat.core.measurement import Measurement
from rheostat.search.evaluator import Request, fidelity_of

__all__ = ["Queue", "Ticket", "Training"]

Training = Callable[[Mapping[str, Value]], Mapping[str, Value]]
"""The part of a configuration that is trained: configurations with the same one run the same bundle."""


@dataclass(slots=True, eq=False)
class Ticket:
    """A request on its way.

    Attributes:
        request: What to measure.
        training: The training that it needs; a text that is the same for the same trainings.
        losses: How many workers were lost over it.
    """

    request: Request
    training: str
    losses: int = 0


@dataclass(slots=True)
class Queue:
    """What waits, what is under way, and which worker has which training.

    A training belongs to the worker that was first given it. Once it has been made and the workers share their files,
    the others may run it, too. It outlives a call of ``evaluate``: ownership is kept.

    Attributes:
        training: See `Training`.
        shared: Whether a training that one worker made is there for all.
        most_losses: A request over which so many workers were lost is given up.
    """

    training: Training
    shared: bool = False
    most_losses: int = 3
    _waiting: list[Ticket] = field(default_factory=list)
    _running: dict[str, list[Ticket]] = field(default_factory=dict)
    _owners: dict[str, str] = field(default_factory=dict)
    _made: set[str] = field(default_factory=set)

    def add(self, requests: Sequence[Request]) -> None:
        """Let requests wait, those of one training together."""
        for request in requests:
            self._waiting.append(Ticket(request, self.key(request.configuration, request.fidelity)))
        first: dict[str, int] = {}
        for ticket in self._waiting:
            first.setdefault(ticket.training, len(first))
        self._waiting.sort(key=lambda ticket: first[ticket.training])

    def key(self, configuration: Mapping[str, Value], fidelity: float = 1.0) -> str:
        """Return a text that is the same for what needs the same training."""
        return json.dumps([dict(self.training(configuration)), fidelity], sort_keys=True)

    def owner(self, training: str) -> str | None:
        """Return the worker that makes or made a training."""
        return self._owners.get(training)

    def own(self, training: str, worker: str) -> None:
        """Take note that a worker has made a training, unasked by `take`."""
        self._owners.setdefault(training, worker)
        self._made.add(training)

    @property
    def empty(self) -> bool:
        """Whether nothing waits or is under way."""
        return not self._waiting and not any(self._running.values())

    def take(self, worker: str, workers: int) -> list[Ticket]:
        """Give an idle worker what it measures next: requests of one training; nothing where it has to wait.

        What a worker has loaded already comes first, then what nobody has begun. A request over which a worker was
        lost goes alone, so that nothing else is blamed for it.

        Args:
            worker: Its name.
            workers: How many there are, to share out a training that all may run.
        """
        ticket = next((each for each in self._waiting if self._owners.get(each.training) == worker), None)
        ticket = ticket or next((each for each in self._waiting if self._owners.get(each.training) is None), None)
        ticket = ticket or next((each for each in self._waiting if self._is_open(each.training)), None)
        if ticket is None:
            return []
        self._owners.setdefault(ticket.training, worker)
        alike = [each for each in self._waiting if each.training == ticket.training and each.losses == 0]
        taken = alike[: math.ceil(len(alike) / workers) if self.shared else None] if ticket.losses == 0 else [ticket]
        self._waiting = [each for each in self._waiting if each not in taken]
        self._running[worker] = list(taken)
        return taken

    def finish(self, worker: str, measurement: Measurement) -> bool:
        """Take note of a result; False where nobody waits for it."""
        running = self._running.get(worker, [])
        for ticket in running:
            request = ticket.request
            if dict(request.configuration) == measurement.configuration and request.fidelity == fidelity_of(
                measurement
            ):
                running.remove(ticket)
                if measurement.status == "ok":
                    self._made.add(ticket.training)
                return True
        return False

    def leave(self, worker: str) -> list[Ticket]:
        """Return what a worker that says it is done has no result for."""
        return self._running.pop(worker, [])

    def lose(self, worker: str) -> list[Ticket]:
        """Let what a lost worker had wait again; return what is given up.

        Where workers do not share their files, the trainings it made are lost, too.
        """
        lost = self._running.pop(worker, [])
        for ticket in lost:
            ticket.losses += 1
        gone = {training for training, owner in self._owners.items() if owner == worker}
        self._owners = {training: owner for training, owner in self._owners.items() if owner != worker}
        if not self.shared:
            self._made -= gone
        self._waiting = [each for each in lost if each.losses < self.most_losses] + self._waiting
        return [each for each in lost if each.losses >= self.most_losses]

    def clear(self, workers: Collection[str] | None = None) -> list[Ticket]:
        """Forget what waits, and what is under way at some workers (None for all); return it."""
        names = list(self._running) if workers is None else workers
        dropped = [*self._waiting, *(each for name in names for each in self._running.pop(name, []))]
        self._waiting = []
        return dropped

    def _is_open(self, training: str) -> bool:
        return self.shared and training in self._made
