"""What a bench measures: which models, which configurations, and whether they fit."""

from __future__ import annotations

import hashlib
import itertools
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from rheostat.bundle.store import MANIFEST
from rheostat.core.errors import RheostatError
from rheostat.core.files import sha256_of
from rheostat.models.sources import place_of
from rheostat.techniques.configuration import checked_configuration, neutral_configuration

__all__ = ["Model", "checked_configuration", "configurations", "identify", "plain_of"]

_LONGEST_HEADER = 100 << 20
_BLOCKS = ("num_hidden_layers", "n_layer", "n_layers")


@dataclass(frozen=True, slots=True)
class Model:
    """A model to measure.

    Attributes:
        source: As people name it.
        facts: What identifies it in a record.
        parameters: Numbers in its weights; None where the files do not tell.
        disk: Bytes of its weights on disk; None where unknown.
        trained: Whether its classifier, if that is what it is, was trained.
        blocks: How many blocks it has; None where the files do not tell.
    """

    source: str
    facts: dict[str, Any]
    parameters: int | None
    disk: int | None
    trained: bool
    blocks: int | None = None

    def shortage(self, limit: int | None) -> str | None:
        """Say by how much the weights alone, as float32, are larger than a limit in bytes; None where they fit."""
        needed = 4 * (self.parameters or 0)
        if limit is None or needed <= limit:
            return None
        return (
            f"its weights take {_gibibytes(needed)} as float32, {_gibibytes(needed - limit)} more than the "
            f"{_gibibytes(limit)} allowed: use a smaller model, a machine with more memory, or another --memory-limit"
        )


def identify(source: str, cache_dir: Path | None = None) -> Model:
    """Find out what a model or bundle is, without loading it.

    Args:
        source: A bundle's folder, or what `rheostat.models.sources.load_model` takes.
        cache_dir: Folder for converted weights; None for the user's cache.

    Raises:
        RheostatError: If there is no such model.
    """
    place = Path(place_of(source, cache_dir))
    if not place.is_dir():
        # On the hub: its name is all that is known before it is loaded.
        return Model(source, {"name": source}, None, None, trained=True)
    files = sorted(place.glob("*.safetensors"))
    sizes = [_header(file) for file in files]
    config = _json(place / "config.json")
    names = config.get("architectures") or [""]
    facts = {
        "name": place.resolve().name if Path(source).exists() else source,
        "bundle": (place / MANIFEST).is_file(),
        "type": config.get("model_type", "unknown"),
        "parameters": sum(sizes),
        "sha256": _digest([place / "config.json", *files]),
    }
    trained = names[0].endswith(("ForSequenceClassification", "ForCausalLM", "LMHeadModel"))
    blocks = next((config[name] for name in _BLOCKS if isinstance(config.get(name), int)), None)
    return Model(source, facts, sum(sizes), sum(file.stat().st_size for file in files), trained, blocks)


def configurations(
    fixed: Mapping[str, Any] | None = None, grid: Mapping[str, Sequence[Any]] | None = None
) -> list[dict[str, Any]]:
    """Return every combination of a grid with what is fixed, each checked, the plain model first, none twice.

    Example:
        >>> configurations({}, {"tokens": [0.5, 1.0]})
        [{'tokens': 1.0}, {'tokens': 0.5}]

    Raises:
        SettingError: If a name is unknown or a value is out of range.
    """
    names = list(grid or {})
    combined = [
        checked_configuration({**(fixed or {}), **dict(zip(names, values, strict=True))})
        for values in itertools.product(*(grid or {}).values())
    ]
    distinct = list({json.dumps(one, sort_keys=True): one for one in combined}.values())
    return sorted(distinct, key=lambda one: one != plain_of(one))


def plain_of(configuration: Mapping[str, Any], blocks: int | None = None) -> dict[str, Any]:
    """Return the configuration of the same names that is the plain model; without ``blocks``, depth is left out."""
    return dict(neutral_configuration(configuration, blocks))


def _header(file: Path) -> int:
    """Return the numbers that a safetensors file holds, from its header: https://github.com/huggingface/safetensors."""
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > _LONGEST_HEADER:
                raise ValueError(f"a header of {length} bytes")
            header = json.loads(opened.read(length))
        return sum(prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise RheostatError(
            "A model's files can be read.", given=f"{file} ({error})", mend="Copy the file again."
        ) from error


def _digest(files: Sequence[Path]) -> str:
    return hashlib.sha256("".join(sha256_of(file) for file in files if file.is_file()).encode()).hexdigest()[:16]


def _json(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content


def _gibibytes(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
