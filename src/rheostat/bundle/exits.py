"""The exit rule of a bundle: written whole or not at all, and checked before it is used."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rheostat.core.errors import BundleError, SettingError
from rheostat.core.exits import ExitRule
from rheostat.core.files import write_atomically

__all__ = ["EXITS", "SavedExits", "read_exits", "weights_of", "write_exits"]

EXITS: Final = "exits.json"
VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class SavedExits:
    """An exit rule, and what it was chosen for.

    Attributes:
        rule: When a row or a token leaves.
        blocks: Blocks of the model.
        target: Mean depth that was wanted, in [1, blocks].
        mean_depth: Mean depth that the rule gave on the data it was chosen on, in [1, blocks].
        settings: Settings of the other dials in force there; other ones are allowed, and give another mean depth.
        data: Which data: ``split`` and ``rows``.
        weights: What `weights_of` says about the bundle; a rule for other weights is refused.

    Raises:
        SettingError: If the rule lets go at the last block or above, a threshold is infinite, or a depth is out of
            range.

    Example:
        >>> SavedExits(ExitRule({2: 0.9}), 6, 4.0, 4.1).mean_depth
        4.1
    """

    rule: ExitRule
    blocks: int
    target: float
    mean_depth: float
    settings: Mapping[str, float] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    weights: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if isinstance(self.blocks, bool) or not isinstance(self.blocks, int) or self.rule.depths[-1] >= self.blocks:
            raise SettingError(
                "A rule lets go below the last block.", given=f"depths {list(self.rule.depths)} of {self.blocks} blocks"
            )
        if not all(map(math.isfinite, self.rule.thresholds.values())):
            raise SettingError("A threshold that is kept is finite.", given=list(self.rule.thresholds.values()))
        for depth in (self.target, self.mean_depth):
            if isinstance(depth, bool) or not isinstance(depth, int | float) or not 1 <= depth <= self.blocks:
                raise SettingError(f"A mean depth lies in [1, {self.blocks}].", given=repr(depth))

    def to_json(self) -> dict[str, Any]:
        """Return plain data, ready for ``exits.json``."""
        return {
            "version": VERSION,
            **self.rule.to_json(),
            "blocks": self.blocks,
            "target": self.target,
            "mean_depth": self.mean_depth,
            "settings": dict(self.settings),
            "data": dict(self.data),
            "weights": self.weights,
        }

    @classmethod
    def from_json(cls, data: object) -> SavedExits:
        """Read back what `to_json` returned.

        Raises:
            BundleError: If it is of another version, or lacks something.
            SettingError: If the rule is unfit.
        """
        if not isinstance(data, Mapping) or data.get("version") != VERSION:
            given = data.get("version") if isinstance(data, Mapping) else type(data).__name__
            raise BundleError(
                f"Exits have version {VERSION}.", given=given, mend="Write them anew, or update rheostat."
            )
        kinds = {"thresholds": dict, "criterion": str, "settings": dict, "data": dict, "weights": str}
        lacking = [name for name, kind in kinds.items() if not isinstance(data.get(name), kind)]
        lacking += [name for name in ("blocks", "target", "mean_depth") if name not in data]
        if lacking:
            raise BundleError("Exits are complete.", given=f"without {', '.join(lacking)}")
        rest = {name: data[name] for name in ("blocks", "target", "mean_depth", "settings", "data", "weights")}
        return cls(ExitRule.from_json(data), **rest)


def weights_of(manifest: Mapping[str, Any]) -> str:
    """Return a SHA-256, as 64 hexadecimal digits, that two bundles share where their weights are the same."""
    hashes = sorted((name, digest) for name, digest in manifest["files"].items() if name.endswith(".safetensors"))
    return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()


def write_exits(folder: Path, exits: SavedExits) -> Path:
    """Write ``exits.json`` into a bundle, in place of an earlier one.

    Raises:
        RheostatError: If it cannot be written; an earlier one stays.
    """
    write_atomically(folder / EXITS, json.dumps(exits.to_json(), indent=2, allow_nan=False) + "\n")
    return folder / EXITS


def read_exits(folder: Path, manifest: Mapping[str, Any], blocks: int) -> SavedExits | None:
    """Read the exits of a bundle; None where it has none.

    Args:
        folder: The bundle.
        manifest: The content of its ``bundle.json``.
        blocks: Blocks of its model.

    Raises:
        BundleError: If they cannot be read, or are those of another model.
    """
    path = folder / EXITS
    if not path.exists():
        return None
    try:
        found = SavedExits.from_json(json.loads(path.read_bytes(), parse_constant=_no_constant))
    except (BundleError, SettingError, OSError, ValueError, TypeError, AttributeError) as error:
        raise _unfit(path, str(error)) from error
    if found.blocks != blocks:
        raise _unfit(path, f"they were chosen for {found.blocks} blocks, and the model has {blocks}")
    if found.weights != weights_of(manifest):
        raise _unfit(path, "they were chosen for other weights")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _unfit(path: Path, what: str) -> BundleError:
    return BundleError(
        "A bundle's exits are those that were chosen for its model.",
        given=f"{path}: {what}",
        mend=f"Run rheostat exits {path.parent} again, or remove the file.",
    )
