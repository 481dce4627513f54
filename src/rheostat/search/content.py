"""Hashes of files and folders, to notice that they changed between two runs."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rheostat.core.errors import DataError
from rheostat.core.files import sha256_of

__all__ = ["content_digest", "model_digest"]

_MANIFESTS = ("bundle.json", "config.json")


def content_digest(path: Path) -> str:
    """Return a hash of a file, or of the names and content of all files in a folder; 64 hexadecimal digits.

    Raises:
        DataError: If there is neither.
    """
    path = path.expanduser()
    if path.is_file():
        return sha256_of(path)
    if not path.is_dir():
        raise DataError("The data is a file or a folder.", given=str(path), mend="Check the spelling.")
    digest = hashlib.sha256()
    for file in sorted(each for each in path.rglob("*") if each.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()} {sha256_of(file)}\n".encode())
    return digest.hexdigest()


def model_digest(source: str) -> str:
    """Return a hash of what a model's folder says about itself; of its name alone where it is no folder.

    A bundle's manifest holds the hashes of all its files. Of other folders the configuration and the sizes of the
    weights are taken, which does not read gigabytes.
    """
    folder = Path(source).expanduser()
    digest = hashlib.sha256(source.encode())
    for name in _MANIFESTS:
        if (folder / name).is_file():
            digest.update((folder / name).read_bytes())
    if folder.is_file():
        digest.update(repr(folder.stat().st_size).encode())
    if folder.is_dir():
        sizes = sorted((file.name, file.stat().st_size) for file in folder.glob("*.safetensors"))
        digest.update(repr(sizes).encode())
    return digest.hexdigest()
