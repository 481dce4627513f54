"""Studies on disk: every trial of a search, safe against kills, crashes and a second optimiser."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Any, Literal, get_args

from rheostat.core.errors import RheostatError, StudyError
from rheostat.core.knob import Value
from rheostat.core.measurement import Measurement, key_of
from rheostat.core.trial import Trial
from rheostat.search.database import APPLICATION, FILE, VERSION, connect, create, damaged, readable, transaction
from rheostat.search.evaluator import Request
from rheostat.search.ownership import Owner

__all__ = ["Claim", "State", "Study"]

State = Literal["PENDING", "RUNNING", "DONE"]
"""A trial waits, or somebody measures it, or it has its measurement."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A trial that somebody has taken on.

    Attributes:
        number: Its number in the study.
        request: What to measure.
        strategy: Who proposed it.
        repeat: Which measurement of the same request it is, from 0.
    """

    number: int
    request: Request
    strategy: str
    repeat: int


class Study:
    """The trials of one search, in a folder.

    ``Study(folder)`` joins a study that is there, to read it or to work for its optimiser. `Study.open` makes one or
    goes on with it, as its one optimiser. Every change is a transaction: a reader, or whoever comes after a kill, sees
    all of it or nothing. Threads may share a study; processes open their own.

    Args:
        folder: The study's folder.

    Raises:
        StudyError: If there is no study, or it is damaged or of a newer version.

    Example:
        >>> with Study.open(Path("study"), "digest") as study:  # doctest: +SKIP
        ...     study.add([Request({"tokens": 0.5})], "random")
        ...     (claim,) = study.claim(1)
        ...     study.finish(claim.number, measurement, seconds=3.0)
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._file = self.folder / FILE
        self._turn = RLock()
        self._owner = Owner.here()
        self._optimises = False
        if not self._file.is_file():
            raise StudyError(
                f"A study is a folder with a {FILE}.", given=str(self.folder), mend="Start one: rheostat optimize."
            )
        self._open: sqlite3.Connection | None = connect(self._file)
        try:
            self._check()
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(
        cls,
        folder: str | Path,
        digest: str,
        scenario: Mapping[str, Any] | None = None,
        *,
        take_over: bool = False,
    ) -> Study:
        """Make a study or go on with it, as its one optimiser; what a killed run was measuring waits again.

        Args:
            folder: Its folder; made if it is missing.
            digest: Hash of the scenario: another one is refused.
            scenario: The scenario as plain data, to say what differs.
            take_over: Take it from an optimiser of which nobody here can say whether it still runs, since it ran on
                another machine. One that is known to run is not robbed.

        Raises:
            StudyError: If it is another scenario's, if another optimiser has it, or if it is damaged or of a newer
                version.
            RheostatError: If the folder cannot be written.
        """
        path = Path(folder)
        create(path, digest, dict(scenario or {}))
        study = cls(path)
        try:
            study._check_scenario(digest, dict(scenario or {}))
            study._lock(take_over=take_over)
        except BaseException:
            study.close()
            raise
        return study

    def __enter__(self) -> Study:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it; another optimiser may go on."""
        if self._open is None:
            return
        with self._turn:
            try:
                if self._optimises:
                    with self._writing() as database:
                        database.execute("DELETE FROM facts WHERE name = 'optimiser'")
            finally:
                self._open.close()
                self._open, self._optimises = None, False

    @property
    def digest(self) -> str:
        """Hash of its scenario."""
        return str(self._fact("digest"))

    @property
    def scenario(self) -> dict[str, Any]:
        """Its scenario as plain data, as it was when the study was made."""
        return dict(self._fact("scenario"))

    def add(self, requests: Sequence[Request], strategy: str = "", *, repeat: int = 0) -> list[int]:
        """Let requests wait for their turn; what the study has already, waiting, running or done, is not added again.

        Args:
            requests: What to measure.
            strategy: Who proposed it.
            repeat: Which measurement of the same request, from 0: another one is another trial.

        Returns:
            The number of each request's trial, new or not.
        """
        with self._writing() as database:
            return [_added(database, request, strategy, repeat) for request in requests]

    def claim(self, most: int | None = None, numbers: Sequence[int] | None = None) -> list[Claim]:
        """Take on trials that wait, oldest first: they are RUNNING then, and nobody else gets them.

        Args:
            most: How many at most; None for all.
            numbers: Of these trials only; None for any.
        """
        wanted = None if numbers is None else set(numbers)
        with self._writing() as database:
            rows = database.execute(
                "SELECT number, configuration, fidelity, strategy, repeat FROM trials WHERE state = 'PENDING' "
                "ORDER BY number"
            ).fetchall()
            taken = [row for row in rows if wanted is None or row[0] in wanted][:most]
            database.executemany(
                "UPDATE trials SET state = 'RUNNING', owner = ? WHERE number = ?",
                [(self._owner.to_text(), row[0]) for row in taken],
            )
        return [
            Claim(number, Request(json.loads(configuration), fidelity), strategy, repeat)
            for number, configuration, fidelity, strategy, repeat in taken
        ]

    def finish(self, number: int, measurement: Measurement, seconds: float = 0.0) -> bool:
        """Write down what a trial gave; it is DONE then.

        Args:
            number: The trial's number.
            measurement: What was measured; a failure, too, is a result.
            seconds: Wall-clock that it took.

        Returns:
            Whether it was not done before; the first result stays.

        Raises:
            StudyError: If there is no such trial.
        """
        content = json.dumps(measurement.to_json(), ensure_ascii=False, allow_nan=False)
        with self._writing() as database:
            row = database.execute("SELECT state FROM trials WHERE number = ?", (number,)).fetchone()
            if row is None:
                raise StudyError("A trial has a number of the study.", given=number)
            if row[0] == "DONE":
                return False
            database.execute(
                "UPDATE trials SET state = 'DONE', owner = NULL, measurement = ?, seconds = ? WHERE number = ?",
                (content, seconds, number),
            )
        return True

    def requeue(self, *, mine: bool = False) -> int:
        """Let trials wait again whose worker has died; return how many.

        Args:
            mine: Those that this process has taken on, too.
        """
        with self._writing() as database:
            rows = database.execute("SELECT number, owner FROM trials WHERE state = 'RUNNING'").fetchall()
            owners = [(number, Owner.from_text(owner)) for number, owner in rows]
            # A worker on another machine worked for an optimiser that is no longer there, either.
            lost = [(number,) for number, owner in owners if not owner.alive or (mine and owner == self._owner)]
            database.executemany("UPDATE trials SET state = 'PENDING', owner = NULL WHERE number = ?", lost)
        return len(lost)

    def release(self, numbers: Sequence[int]) -> None:
        """Let trials wait again that were taken on and are not measured after all."""
        with self._writing() as database:
            database.executemany(
                "UPDATE trials SET state = 'PENDING', owner = NULL WHERE number = ? AND state = 'RUNNING'",
                [(number,) for number in numbers],
            )

    def forget(self, numbers: Sequence[int]) -> None:
        """Take trials out again that were never begun."""
        with self._writing() as database:
            database.executemany(
                "DELETE FROM trials WHERE number = ? AND state = 'PENDING'", [(number,) for number in numbers]
            )

    def trials(self) -> list[Trial]:
        """Return every trial that is done, by number.

        Raises:
            StudyError: If what the study holds is no measurement.
        """
        rows = self._read(
            "SELECT number, configuration, measurement, fidelity, seconds, strategy FROM trials "
            "WHERE state = 'DONE' ORDER BY number"
        )
        try:
            return [
                Trial(number, json.loads(configuration), Measurement.from_json(json.loads(content)), *rest)
                for number, configuration, content, *rest in rows
            ]
        except (ValueError, TypeError, RheostatError) as error:
            raise damaged(self._file, f"a trial that cannot be read ({error})") from error

    def counts(self) -> dict[State, int]:
        """Return how many trials wait, run and are done."""
        found = dict(self._read("SELECT state, COUNT(*) FROM trials GROUP BY state"))
        return {state: found.get(state, 0) for state in get_args(State)}

    def state_of(self, request: Request, *, repeat: int = 0) -> State | None:
        """Return how far a request is; None where the study does not have it."""
        rows = self._read("SELECT state FROM trials WHERE key = ?", (_key(request, repeat),))
        return rows[0][0] if rows else None

    def note(self, name: str, value: Any) -> None:
        """Keep a small piece of plain data under a name, in place of what was there."""
        with self._writing() as database:
            database.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, json.dumps(value)))

    def noted(self, name: str, default: Any = None) -> Any:
        """Return what `note` kept; the default where there is nothing."""
        rows = self._read("SELECT value FROM notes WHERE name = ?", (name,))
        return json.loads(rows[0][0]) if rows else default

    def _fact(self, name: str) -> Any:
        rows = self._read("SELECT value FROM facts WHERE name = ?", (name,))
        if not rows:
            raise damaged(self._file, f"it lacks '{name}'")
        return json.loads(rows[0][0])

    def _check(self) -> None:
        (application,), (version,) = (self._read(f"PRAGMA {name}")[0] for name in ("application_id", "user_version"))
        if application != APPLICATION:
            raise damaged(self._file, "the database of another program")
        if version > VERSION:
            raise StudyError(
                f"This version of rheostat reads studies up to version {VERSION}.",
                given=f"{self._file} has version {version}",
                mend="Update rheostat: pip install --upgrade rheostat.",
            )
        if (found := self._read("PRAGMA quick_check")[0][0]) != "ok":
            raise damaged(self._file, str(found).splitlines()[0])

    def _check_scenario(self, digest: str, scenario: Mapping[str, Any]) -> None:
        if self.digest == digest:
            return
        before = self.scenario
        other = sorted(name for name in {*before, *scenario} if before.get(name) != scenario.get(name))
        raise StudyError(
            "A study belongs to one scenario.",
            given=f"{self.folder} was made for another one" + (f": {', '.join(other)} differ" if other else ""),
            mend="Choose another folder, or the scenario that it was made for.",
        )

    def _lock(self, *, take_over: bool) -> None:
        with self._writing() as database:
            row = database.execute("SELECT value FROM facts WHERE name = 'optimiser'").fetchone()
            if row is not None:
                _refuse_second(self.folder, json.loads(row[0]), take_over=take_over)
            value = json.dumps({"owner": self._owner.to_text(), "since": time.time()})
            database.execute("INSERT OR REPLACE INTO facts VALUES ('optimiser', ?)", (value,))
        self._optimises = True
        # What an earlier search of this very process left behind waits again, too.
        self.requeue(mine=True)

    def _read(self, question: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._turn, readable(self._file):
            return self._database.execute(question, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._turn, readable(self._file), transaction(self._database) as database:
            yield database

    @property
    def _database(self) -> sqlite3.Connection:
        if self._open is None:
            raise StudyError("A study is used before it is closed.", given=str(self.folder))
        return self._open


def _key(request: Request, repeat: int) -> str:
    return key_of({}, request.configuration, {"fidelity": request.fidelity, "repeat": repeat}, {})


def _added(database: sqlite3.Connection, request: Request, strategy: str, repeat: int) -> int:
    key = _key(request, repeat)
    row = database.execute("SELECT number FROM trials WHERE key = ?", (key,)).fetchone()
    if row is not None:
        return int(row[0])
    (number,) = database.execute("SELECT COALESCE(MAX(number), -1) + 1 FROM trials").fetchone()
    configuration: dict[str, Value] = dict(request.configuration)
    database.execute(
        "INSERT INTO trials (number, key, configuration, fidelity, repeat, strategy, state) "
        "VALUES (?, ?, ?, ?, ?, ?, 'PENDING')",
        (number, key, json.dumps(configuration), request.fidelity, repeat, strategy),
    )
    return int(number)


def _refuse_second(folder: Path, lock: Mapping[str, Any], *, take_over: bool) -> None:
    owner = Owner.from_text(lock["owner"])
    if not owner.alive and (owner.is_near or take_over):
        return
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(lock["since"]))
    where = "" if owner.is_near else f" on {owner.host}"
    if not owner.is_near:
        mend = "If it no longer runs, take the study over."
    elif owner.pid == os.getpid():
        mend = "Close it first: it is this very process."
    else:
        mend = f"Wait until it ends, or end it: kill {owner.pid}."
    raise StudyError(
        "A study has one optimiser at a time.",
        given=f"{folder}, which process {owner.pid}{where} has had since {since}",
        mend=mend,
    )
