"""Files, and folders of them, that are either written whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from rheostat.core.errors import RheostatError

__all__ = ["replace_folder", "sha256_of", "write_atomically"]

_HERE = -100
_EXCHANGE = 2


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new one and nothing between.

    Args:
        path: Where the file goes; its folder is made if it is missing.
        data: The content; text is encoded as UTF-8.

    Raises:
        RheostatError: If the disk is full or the folder cannot be written; the old file stays.
    """
    content = data.encode() if isinstance(data, str) else data
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
        temporary = None
    except OSError as error:
        raise _readable(error, path) from error
    finally:
        # Also after Ctrl-C.
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def replace_folder(new: Path, target: Path) -> None:
    """Put a folder in the place of another one; what was there is removed.

    On Linux and macOS both names change hands in one step, so that there is a whole folder under that name at every
    moment, also for whoever is killed in between. Elsewhere, and on file systems that cannot do it, the old folder
    steps aside first.

    Args:
        new: The folder, complete, on the same file system.
        target: Where it goes; it may be missing.

    Raises:
        OSError: If it cannot be moved; the old folder stays.
    """
    if not target.exists():
        new.rename(target)
        return
    if not _exchanged(new, target):
        aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.old-"))
        target.rename(aside)
        try:
            new.rename(target)
        except OSError:
            aside.rename(target)
            raise
        new = aside
    shutil.rmtree(new, ignore_errors=True)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _exchanged(first: Path, second: Path) -> bool:
    """Let two paths change places in one step, and say whether that was possible."""
    if os.name != "posix":
        return False
    library = ctypes.CDLL(None)
    paths = os.fsencode(first), os.fsencode(second)
    if sys.platform == "darwin" and hasattr(library, "renamex_np"):
        return bool(library.renamex_np(*paths, _EXCHANGE) == 0)
    if sys.platform == "linux" and hasattr(library, "renameat2"):
        return bool(library.renameat2(_HERE, paths[0], _HERE, paths[1], _EXCHANGE) == 0)
    return False


def _readable(error: OSError, path: Path) -> RheostatError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RheostatError(
            "A file needs free space on its disk; the old content was kept.",
            given=str(path),
            mend="Free some space and run the same command again.",
        )
    return RheostatError(
        "A file needs a folder that can be written.",
        given=f"{path} ({error.strerror})",
        mend="Choose another folder or mend its permissions.",
    )
