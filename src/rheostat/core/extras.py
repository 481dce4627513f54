"""The one place where optional third-party packages are imported: when they are needed, and not before."""

from __future__ import annotations

import importlib
from typing import Any

from rheostat.core.errors import RheostatError

__all__ = ["require"]


def require(module: str, extra: str) -> Any:
    """Import a module that one of the package's extras brings.

    Args:
        module: The dotted name to import, such as ``"pyarrow.parquet"``.
        extra: The extra that installs it, such as ``"train"``.

    Returns:
        The module.

    Raises:
        RheostatError: If it is not installed; the text holds the command that installs it.

    Example:
        >>> require("json", extra="train").dumps([1])
        '[1]'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise RheostatError(
            f"This needs the package '{error.name}', which is not installed.",
            mend=f"Run: pip install 'rheostat[{extra}]'",
        ) from error
