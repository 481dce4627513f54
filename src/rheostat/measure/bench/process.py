"""The measured process, seen from outside: orders and replies, limits on time and memory."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import IO, Any

from rheostat.core.measurement import Status

__all__ = ["ALLOCATOR", "MeasuredProcess", "WorkError", "resident_bytes"]

ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
"""Keeps freed memory in the process. Otherwise glibc gives the memory of large tensors back to the system and takes it
anew in every forward, or does not, as the history of the process has it: two equal processes differed by 7 %."""

_SLICE = 0.05
_TAIL = 2000


class WorkError(Exception):
    """The measured process could not do what it was told.

    Args:
        status: What happened.
        reason: In words.
    """

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class MeasuredProcess:
    """A Python process that obeys orders, one JSON line each.

    It is killed when an order takes too long or its resident memory passes the limit; the kernel, too, is told to
    choose it first where memory runs out.

    Args:
        memory_limit: Most bytes of resident memory; None for no limit.
        threads: Threads of torch; None for its own choice.
        command: What to run; None for `rheostat.measure.bench.worker`.
    """

    def __init__(
        self,
        memory_limit: int | None = None,
        threads: int | None = None,
        command: Sequence[str] | None = None,
    ) -> None:
        self._limit = memory_limit
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        # What this process can import, that one can: also where the package is not installed.
        paths = os.pathsep.join(path for path in sys.path if path)
        environment = {**ALLOCATOR, **os.environ, "PYTHONPATH": paths}
        if threads is not None:
            environment["OMP_NUM_THREADS"] = str(threads)
        self._process = subprocess.Popen(
            command or [sys.executable, "-m", "rheostat.measure.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
        )
        self._buffer = b""

    def __enter__(self) -> MeasuredProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def ask(self, order: str, timeout: float, **values: Any) -> dict[str, Any]:
        """Give an order and wait for the reply.

        Args:
            order: Its name.
            timeout: Seconds to wait.
            values: What goes with it.

        Raises:
            WorkError: If it fails, takes too long, or takes too much memory; the process is gone after the last two.
        """
        if self._errors.closed:
            raise WorkError("failed", "its process has ended")
        line = json.dumps({"order": order, **values}).encode() + b"\n"
        try:
            if self._process.stdin is None:
                raise BrokenPipeError
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except (BrokenPipeError, OSError, ValueError):
            raise self._gone() from None
        return self._checked(self._line(time.monotonic() + timeout, timeout))

    def close(self) -> None:
        """End it; what it was doing is lost."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:
                # What was still in the pipe can no longer be written: nobody waits for it.
                continue

    def _line(self, deadline: float, timeout: float) -> bytes:
        output = self._process.stdout
        if output is None:
            raise self._gone()
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if time.monotonic() > deadline:
                    self.close()
                    raise WorkError("timed-out", f"it took longer than {timeout:.0f} s")
                self._check_memory()
                if selector.select(_SLICE):
                    piece = os.read(output.fileno(), 1 << 20)
                    if not piece:
                        raise self._gone()
                    self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _check_memory(self) -> None:
        held = None if self._limit is None else resident_bytes(self.pid)
        if held is not None and self._limit is not None and held > self._limit:
            self.close()
            raise WorkError("out-of-memory", f"it held {_gibibytes(held)} where {_gibibytes(self._limit)} were allowed")

    def _checked(self, line: bytes) -> dict[str, Any]:
        reply: dict[str, Any] = json.loads(line)
        error: Mapping[str, Any] | None = reply.get("error")
        if error is not None:
            raise WorkError(error["status"], error["reason"])
        return reply

    def _gone(self) -> WorkError:
        """Return what to say of a process that ended by itself."""
        code = self._process.wait()
        self._errors.seek(0)
        told = self._errors.read()[-_TAIL:].decode(errors="replace").strip().splitlines()
        self.close()
        if code == -signal.SIGKILL:
            return WorkError("out-of-memory", "the system killed it, as it does where memory runs out")
        return WorkError("failed", f"it ended with code {code}: {told[-1] if told else 'it said nothing'}")


def resident_bytes(pid: int) -> int | None:
    """Return the resident memory of a process in bytes; None where it is gone or the system does not tell."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:  # noqa: PTH123 - read every 50 ms
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return None


def _gibibytes(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
