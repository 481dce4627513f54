"""The file of a study: SQLite, made whole or not at all, with errors that people can read."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from rheostat.core.errors import RheostatError, StudyError

__all__ = ["APPLICATION", "FILE", "VERSION", "connect", "create", "damaged", "readable", "transaction"]

FILE: Final = "study.sqlite"
VERSION: Final = 1

# "RHEO", so that another program's database is not taken for a study.
APPLICATION: Final = 0x5248454F
_PATIENCE: Final = 30.0

_SCHEMA: Final = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE trials (
    number INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    configuration TEXT NOT NULL,
    fidelity REAL NOT NULL,
    repeat INTEGER NOT NULL,
    strategy TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('PENDING', 'RUNNING', 'DONE')),
    owner TEXT,
    measurement TEXT,
    seconds REAL
);
CREATE INDEX waiting ON trials (state, number);
"""


def create(folder: Path, digest: str, scenario: dict[str, Any]) -> None:
    """Make the file, unless it is there; whoever is killed meanwhile leaves an empty one, which is made again."""
    file = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RheostatError(
            "A study needs a folder that can be written.",
            given=f"{folder} ({error.strerror})",
            mend="Choose another folder.",
        ) from error
    database = connect(file)
    try:
        with readable(file), transaction(database):
            if database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
                return
            for statement in _SCHEMA.split(";"):
                database.execute(statement)
            database.executemany(
                "INSERT INTO facts VALUES (?, ?)",
                [("digest", json.dumps(digest)), ("scenario", json.dumps(scenario))],
            )
            database.execute(f"PRAGMA application_id = {APPLICATION}")
            database.execute(f"PRAGMA user_version = {VERSION}")
    finally:
        database.close()


def connect(file: Path) -> sqlite3.Connection:
    """Open the file, made where it is missing; readers and one writer get on side by side.

    Raises:
        StudyError: If it cannot be opened, or is no database.
    """
    with readable(file):
        # Transactions are begun by hand; threads take turns by a lock.
        database = sqlite3.connect(file, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
        except BaseException:
            database.close()
            raise
        return database


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Do all of what is inside, or nothing."""
    # It writes at once, so that what was read cannot change before it is written.
    database.execute("BEGIN IMMEDIATE")
    try:
        yield database
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


@contextmanager
def readable(file: Path) -> Iterator[None]:
    """Turn what SQLite says into an error for people.

    Raises:
        StudyError: If the file is damaged, full, locked or not to be written.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        busy = "locked" in str(error)
        raise StudyError(
            "A study's file can be read and written.",
            given=f"{file}: {error}",
            mend="Another process holds it: try again."
            if busy
            else "Check its permissions, and the space on its disk.",
        ) from error
    except sqlite3.DatabaseError as error:
        raise damaged(file, str(error)) from error


def damaged(file: Path, what: str) -> StudyError:
    """Return the error for a file that cannot be trusted."""
    return StudyError(
        "A study's file is complete and rheostat's own.",
        given=f"{file}: {what}",
        mend="Restore it from a copy, or start the study in another folder.",
    )
