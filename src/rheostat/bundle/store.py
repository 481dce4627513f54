"""A bundle's folder: written whole or not at all, and checked before it is read."""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from rheostat.bundle.card import model_card
from rheostat.core.errors import BundleError
from rheostat.core.files import replace_folder, sha256_of, write_atomically
from rheostat.models.salience import write_salience
from rheostat.models.sources import quiet_transformers
from rheostat.models.words import write_words

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from rheostat.core.text import Task
    from rheostat.techniques import Technique

__all__ = [
    "ADAPTER",
    "MANIFEST",
    "PROFILE",
    "VERSION",
    "BundleInfo",
    "check_target",
    "info_of",
    "read_manifest",
    "save_bundle",
    "verify_files",
]

VERSION: Final = 1
MANIFEST: Final = "bundle.json"
PROFILE: Final = "profile.json"
ADAPTER: Final = "adapter"
"""The folder, inside a bundle, of the adapter whose change its weights already hold."""
CHECKPOINTS: Final = ".checkpoints"
_CARD: Final = "README.md"
# The manifest cannot hold its own hash, a profile is measured later, and people may edit the card.
_NOT_HASHED: Final = {MANIFEST, PROFILE, _CARD}
_TASKS: Final = ("classification", "causal-lm")


@dataclass(frozen=True, slots=True)
class BundleInfo:
    """What a bundle says about itself.

    Attributes:
        task: ``"classification"`` or ``"causal-lm"``.
        max_length: Tokens that are read at most; longer texts are cut.
        label_names: Names of the classes, in the order of the model's outputs; None for a language model.
        origin: Where the weights came from.
        training: The settings and results of the training, JSON values only.
        notes: Sentences for the model card.
    """

    task: Task
    max_length: int
    label_names: tuple[str, ...] | None = None
    origin: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def save_bundle(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    technique: Technique,
    info: BundleInfo,
    also: Mapping[str, Path] | None = None,
) -> Path:
    """Write a bundle; an existing one is replaced only when the new one is complete.

    Args:
        folder: Where the bundle goes.
        model: The model; weights are saved as safetensors in its dtype.
        tokenizer: Its tokenizer.
        technique: What `load` attaches to it.
        info: What the bundle says about itself.
        also: Folders to copy into the bundle, by the name that they get there.

    Returns:
        ``folder``.

    Raises:
        BundleError: If the folder holds something else, or cannot be written.
    """
    folder = folder.absolute()
    check_target(folder)
    temporary: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.new-"))
        for name, source in (also or {}).items():
            shutil.copytree(source, temporary / name)
        _fill(temporary, model, tokenizer, technique, info)
        temporary.chmod(0o755)
        replace_folder(temporary, folder)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def check_target(folder: Path) -> None:
    """Refuse to replace a folder that is neither empty, nor a bundle, nor an unfinished training.

    Raises:
        BundleError: If it holds something else, or is a file.
    """
    if not folder.exists() or (folder / MANIFEST).exists() or (folder / CHECKPOINTS).exists():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise BundleError(
            "A bundle is written to a new folder, an empty one, or over another bundle.",
            given=str(folder),
            mend="Choose another folder.",
        )


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and check ``bundle.json``.

    Raises:
        BundleError: If it is missing, unreadable, of a newer version, or lacks something.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise _missing(folder)
    try:
        manifest = json.loads(path.read_bytes())
    except (ValueError, OSError) as error:
        raise damaged(path, f"it cannot be read ({error})") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("version"), int):
        raise damaged(path, "it names no version")
    if manifest["version"] > VERSION:
        raise BundleError(
            f"This release reads bundles up to version {VERSION}.",
            given=f"{path} has version {manifest['version']}",
            mend="Update rheostat.",
        )
    for name, kind in {"task": str, "technique": dict, "max_length": int, "files": dict}.items():
        if not isinstance(manifest.get(name), kind):
            raise damaged(path, f"it lacks '{name}'")
    if manifest["task"] not in _TASKS:
        raise damaged(path, f"its task is {manifest['task']!r}")
    return manifest


def info_of(manifest: Mapping[str, Any]) -> BundleInfo:
    """Return the typed part of a manifest."""
    names = manifest.get("label_names")
    return BundleInfo(
        task=manifest["task"],
        max_length=manifest["max_length"],
        label_names=tuple(names) if names is not None else None,
        origin=manifest.get("origin", ""),
        training=manifest.get("training", {}),
        notes=tuple(manifest.get("notes", ())),
    )


def verify_files(folder: Path, files: Mapping[str, str], *, contents: bool) -> None:
    """Check that a bundle's files are there and, with ``contents``, that they are the ones that were written.

    Raises:
        BundleError: Naming the first file that is missing or changed.
    """
    for name, digest in files.items():
        path = folder / name
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise damaged(folder / MANIFEST, f"it names a file outside the bundle ({name})")
        if not path.is_file():
            raise damaged(path, "the file is missing")
        if contents and sha256_of(path) != digest:
            raise damaged(path, "its content is not what was written (SHA-256 differs)")


def damaged(path: Path, what: str) -> BundleError:
    """Return the error for a bundle's file that cannot be trusted."""
    return BundleError(
        "A bundle's files are complete and unchanged.",
        given=f"{path}: {what}",
        mend="Copy the bundle again from where it came, or write it anew.",
    )


def _missing(folder: Path) -> BundleError:
    kept = sorted(folder.parent.glob(f".{folder.name}.old-*")) if folder.parent.is_dir() else []
    mend = "Name a folder that rheostat has written."
    if kept:
        mend = f"A crash kept the earlier bundle as {kept[-1]}: rename it to {folder.name}."
    elif (folder / CHECKPOINTS).is_dir():
        mend = "Its training is unfinished: continue it with --resume."
    return BundleError(f"A bundle is a folder with a {MANIFEST}.", given=str(folder), mend=mend)


def _fill(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    technique: Technique,
    info: BundleInfo,
) -> None:
    with quiet_transformers():
        model.save_pretrained(folder)
    write_salience(folder, model)
    write_words(folder, model)
    tokenizer.save_pretrained(folder)
    for path in folder.rglob("*"):
        # safetensors makes files that only their owner can read; a bundle is there to be shared.
        path.chmod(0o755 if path.is_dir() else 0o644)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    manifest = {
        "version": VERSION,
        "task": info.task,
        "technique": technique.to_json(),
        "max_length": info.max_length,
        "label_names": list(info.label_names) if info.label_names is not None else None,
        "origin": info.origin,
        "training": dict(info.training),
        "notes": list(info.notes),
        "files": {name: sha256_of(folder / name) for name in names if name not in _NOT_HASHED},
    }
    write_atomically(folder / _CARD, model_card(manifest, model.num_parameters()))
    write_atomically(folder / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")


def _cannot_write(folder: Path, error: OSError) -> BundleError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return BundleError(
        "A bundle needs a folder that can be written, with free space; what was there before was kept.",
        given=f"{folder} ({error.strerror or error})",
        mend="Free some space and run it again." if full else "Choose another folder or mend its permissions.",
    )
