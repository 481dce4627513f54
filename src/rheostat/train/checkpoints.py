"""Checkpoints of an unfinished run: finding the last whole one, and refusing one of another run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rheostat.core.errors import SettingError, TrainingError
from rheostat.core.files import write_atomically

__all__ = ["BEST", "checkpoints_folder", "last_checkpoint", "open_run"]

BEST: Final = "best.safetensors"
_RUN: Final = "run.json"
_STATE: Final = "trainer_state.json"


def checkpoints_folder(out: Path) -> Path:
    """Return where the checkpoints of a bundle's training are, while it runs."""
    return out / ".checkpoints"


def open_run(out: Path, description: Mapping[str, Any], *, resume: bool) -> Path | None:
    """Start or continue a run.

    Args:
        out: The bundle's folder.
        description: What the run learns from, JSON values only; a continued run must have the same.
        resume: Whether to continue what is there.

    Returns:
        The checkpoint to continue from; None to start at the beginning.

    Raises:
        SettingError: If there are checkpoints and ``resume`` is False, or they are of a run with other
            settings.
    """
    folder = checkpoints_folder(out)
    last = last_checkpoint(folder)
    if last is not None and not resume:
        raise SettingError(
            "An unfinished run is continued or thrown away.",
            given=f"{folder} holds {last.name}",
            mend=f"Continue it with --resume (resume=True), or delete {folder}.",
        )
    wanted = json.loads(json.dumps(description))
    if last is not None:
        _check_same(folder, wanted)
        return last
    shutil.rmtree(folder, ignore_errors=True)
    write_atomically(folder / _RUN, json.dumps(wanted, indent=2) + "\n")
    return None


def last_checkpoint(folder: Path) -> Path | None:
    """Return the last whole checkpoint, or None; those that a crash left half written are deleted."""
    numbered = [(int(path.name.split("-")[1]), path) for path in folder.glob("checkpoint-[0-9]*") if path.is_dir()]
    for _, path in sorted(numbered, reverse=True):
        if _is_whole(path):
            return path
        shutil.rmtree(path, ignore_errors=True)
    return None


def _is_whole(checkpoint: Path) -> bool:
    # The Trainer writes its state last.
    try:
        state = json.loads((checkpoint / _STATE).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(state, dict) and "global_step" in state and any(checkpoint.glob("*.safetensors"))


def _check_same(folder: Path, wanted: dict[str, Any]) -> None:
    path = folder / _RUN
    try:
        before = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise TrainingError(
            "A run is continued with the settings it began with.",
            given=f"{path} cannot be read",
            mend=f"Delete {folder} and start again.",
        ) from error
    changed = [name for name in {**before, **wanted} if before.get(name) != wanted.get(name)]
    if changed:
        said = "; ".join(f"{name} was {before.get(name)!r}, now {wanted.get(name)!r}" for name in sorted(changed))
        raise SettingError(
            "A run is continued with the settings it began with.",
            given=said,
            mend=f"Give the same settings, or delete {folder} to start again.",
        )
