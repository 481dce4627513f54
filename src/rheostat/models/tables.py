"""Tables that lie on a base model as buffers, which follow it from device to device and are no part of its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from rheostat.models.families import locate

__all__ = ["has_table", "put_table", "stored_table", "table_of", "write_table"]

_PREFIX = "rheostat_"


def put_table(model: nn.Module, name: str, table: torch.Tensor | None) -> None:
    """Put a table on a model under a name, in place of an earlier one; None takes it off."""
    base: Any = locate(model).base
    if table is None:
        base._buffers.pop(_PREFIX + name, None)
    else:
        base.register_buffer(_PREFIX + name, table.to(base.device), persistent=False)


def table_of(base: nn.Module, name: str) -> torch.Tensor | None:
    """Return the table of a name that lies on a base model, or None."""
    return base._buffers.get(_PREFIX + name)


def write_table(folder: Path, model: nn.Module, name: str) -> None:
    """Write a model's table into the folder of its weights; nothing where it has none."""
    table = table_of(locate(model).base, name)
    if table is not None:
        save_file({_PREFIX + name: table.float().cpu()}, _file(folder, name))


def has_table(folder: Path, name: str) -> bool:
    """Whether a table of a name lies in the folder of a model's weights."""
    return _file(folder, name).is_file()


def stored_table(folder: Path, name: str) -> torch.Tensor | None:
    """Return the table of a name that lies in the folder of a model's weights, or None."""
    return load_file(_file(folder, name))[_PREFIX + name] if has_table(folder, name) else None


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.safetensors"
