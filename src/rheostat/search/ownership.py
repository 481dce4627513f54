"""Which process owns something, and whether it still runs."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Owner"]

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Owner:
    """A process.

    Attributes:
        pid: Its number.
        host: The machine that it runs on.
        started: What tells it from a later process of the same number: the system's start and its own, in the system's
            own words; empty where the system does not tell.
    """

    pid: int
    host: str
    started: str

    @classmethod
    def here(cls) -> Owner:
        """Return this process."""
        return cls(os.getpid(), platform.node(), _started(os.getpid()) or "")

    @classmethod
    def from_text(cls, text: str) -> Owner:
        """Return what `to_text` wrote."""
        return cls(**json.loads(text))

    def to_text(self) -> str:
        """Return it as text."""
        return json.dumps(asdict(self))

    @property
    def is_near(self) -> bool:
        """Whether it runs, or ran, on this machine."""
        return self.host == platform.node()

    @property
    def alive(self) -> bool:
        """Whether it runs on this machine now; of another machine's nobody here knows, and it is not."""
        if not self.is_near:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            # It is there, and somebody else's.
            pass
        now = _started(self.pid)
        return now is not None and now == self.started


def _started(pid: int) -> str | None:
    """Return when a process began; an empty text where the system does not tell, None where it has ended."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        # The name, in brackets, may hold anything. After it comes the state; the start, in ticks, is the 22nd entry.
        entries = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        # "Z": it has ended, and its parent has not asked yet.
        return None if entries[0] == "Z" else f"{boot} {entries[19]}"
    except (OSError, IndexError):
        return ""
