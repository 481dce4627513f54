"""Reading a bundle from its folder."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from rheostat.bundle.exits import read_exits
from rheostat.bundle.runtime import Bundle
from rheostat.bundle.store import MANIFEST, PROFILE, damaged, info_of, read_manifest, verify_files
from rheostat.core.errors import BundleError, RheostatError, SettingError
from rheostat.core.machine import machine_facts
from rheostat.core.profile import Profile, machine_difference
from rheostat.models.sources import load_model
from rheostat.models.words import words_of
from rheostat.techniques import Cascade, Depth, Handle, Shortening, Technique, Words, attach, technique_from_json
from rheostat.techniques.configuration import techniques_of
from rheostat.techniques.depths import blocks_of

__all__ = ["load"]


def load(folder: str | Path, *, verify: bool = True, device: str | None = None) -> Bundle:
    """Load a bundle. Where a search chose its configuration, that is in force.

    Args:
        folder: The bundle's folder.
        verify: Whether to check the SHA-256 of every file; without, only that each is there.
        device: ``"cpu"``, ``"cuda"``, ``"mps"``, ...; None for the accelerator if there is one, else the CPU.

    Raises:
        BundleError: If it is missing, damaged, or of a newer version; naming the file.

    Warns:
        UserWarning: If its profile was measured on another kind of machine.

    Example:
        >>> bundle = rheostat.load("spam-bundle")  # doctest: +SKIP
    """
    path = Path(folder)
    manifest = read_manifest(path)
    verify_files(path, manifest["files"], contents=verify)
    info = info_of(manifest)
    try:
        technique = technique_from_json(manifest["technique"])
        loaded = load_model(str(path.absolute()), info.task, dtype="auto")
    except RheostatError as error:
        raise BundleError(
            "A bundle names a technique and a model that can be loaded.",
            given=f"{path}: {error}",
            mend=f"Check {MANIFEST} and config.json, or install the package that the technique comes from.",
        ) from error
    model: Any = loaded.model
    model = model.to(_device(device))
    handle = _attached(model, technique, manifest.get("configuration") or {}, info.task)
    exits = read_exits(path, manifest, blocks_of(handle))
    bundle = Bundle(path, model, loaded.tokenizer, handle, _profile(path), manifest, info, exits)
    _warn_of_other_machine(bundle)
    return bundle


def _attached(model: Any, technique: Technique, configuration: Mapping[str, Any], task: str) -> Handle:
    """Put on what a bundle names, and turn its dials as its configuration says, where it has one."""
    if not configuration:
        # A bundle names one technique; what takes no setting of its own every bundle has beside it.
        more = [*_depth(technique), *(_of_classifiers(model) if task == "classification" else [])]
        return attach(model, technique, *more)
    own = {name: value for name, value in technique.to_json().items() if name != "name"}
    chosen = techniques_of({**own, **configuration})
    handle = attach(model, *chosen, *_depth(*chosen))
    dials = {dial.name for dial in handle.dials}
    handle.set(**{name: float(value) for name, value in configuration.items() if name in dials})
    return handle


def _depth(*techniques: Technique) -> list[Technique]:
    return [] if any(isinstance(each, Shortening) for each in techniques) else [Depth()]


def _of_classifiers(model: Any) -> list[Technique]:
    return [Cascade(), *([] if words_of(model) is None else [Words()])]


def _profile(folder: Path) -> Profile | None:
    path = folder / PROFILE
    if not path.exists():
        return None
    try:
        return Profile.from_json(path.read_text(encoding="utf-8"))
    except (BundleError, OSError, ValueError) as error:
        raise damaged(path, str(error)) from error


def _warn_of_other_machine(bundle: Bundle) -> None:
    if bundle.profile is None:
        return
    difference = machine_difference(bundle.profile.device, machine_facts())
    if difference:
        warnings.warn(
            f"The profile of {bundle.folder} was measured on another machine ({difference}), so a given "
            f"speed may not be reached. To measure this one, run: rheostat calibrate {bundle.folder}",
            UserWarning,
            stacklevel=3,
        )


def _device(device: str | None) -> torch.device:
    if device is None:
        found = torch.accelerator.current_accelerator(check_available=True)
        return found if found is not None else torch.device("cpu")
    try:
        # Making a tensor there is the only way to learn that the device exists.
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise SettingError(
            "A device is one that PyTorch has here.",
            given=f"{device!r}: {str(error).splitlines()[0]}",
            mend="Use device='cpu', or leave it out.",
        ) from error
