"""GGUF files, converted once into folders that load in seconds."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rheostat.core.errors import RheostatError, UnsupportedModelError
from rheostat.core.files import sha256_of

__all__ = ["cache_folder", "convert_gguf", "folder_of_gguf", "made_once"]

_log = logging.getLogger("rheostat.progress")


def cache_folder(cache_dir: Path | None = None) -> Path:
    """Return the folder for converted weights: the given one, ``$RHEOSTAT_CACHE``, or the user's cache."""
    if cache_dir is not None:
        return cache_dir
    if named := os.environ.get("RHEOSTAT_CACHE"):
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "rheostat"


def folder_of_gguf(file: Path, cache_dir: Path | None = None) -> Path:
    """Return a folder with the model of a GGUF file as float32 safetensors, converting it at the first call.

    The folder is keyed by the file's SHA-256, so a changed file is converted again.

    Raises:
        UnsupportedModelError: If Transformers cannot read the file.
        RheostatError: If the cache cannot be written.
    """
    folder = cache_folder(cache_dir) / "gguf" / sha256_of(file)
    return made_once(folder, lambda target: convert_gguf(file, target))


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return ``folder``, filled by ``make`` if it does not exist; a crash leaves it unmade, never half made.

    Args:
        folder: The folder that is wanted.
        make: Fills the empty folder that it is given.

    Raises:
        RheostatError: If the folder cannot be written.
    """
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".making-"))
    except OSError as error:
        raise _cannot_write(folder, error) from error
    try:
        make(temporary)
        temporary.chmod(0o755)
        temporary.rename(folder)
    except OSError as error:
        # Somebody else may have made the same folder meanwhile.
        if not folder.is_dir():
            raise _cannot_write(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _cannot_write(folder: Path, error: OSError) -> RheostatError:
    return RheostatError(
        "Converted weights need a cache folder with free space.",
        given=f"{folder} ({error.strerror or error})",
        mend="Free some space, or name another folder in RHEOSTAT_CACHE.",
    )


def convert_gguf(file: Path, folder: Path) -> None:
    """Write the model and the tokenizer of a GGUF file into a folder, as float32 safetensors (takes minutes).

    Raises:
        UnsupportedModelError: If Transformers cannot read the file.
    """
    _log.info("Converting %s once into safetensors: this takes some minutes, later loads take seconds.", file.name)
    model, tokenizer = _read_gguf(file)
    # The tensors are plain float32 now, but the configuration still calls them GGUF-quantised.
    model.hf_quantizer, model.is_quantized = None, False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _log.info("Converted %s.", file.name)


def _read_gguf(file: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place, options = str(file.parent), {"gguf_file": file.name}
    try:
        model = AutoModelForCausalLM.from_pretrained(place, dtype="float32", **options)
        return model, AutoTokenizer.from_pretrained(place, **options)
    except ImportError as error:
        raise UnsupportedModelError(
            "Reading a GGUF file needs the package gguf.", given=str(file), mend="Run: pip install gguf"
        ) from error
    except (ValueError, KeyError, NotImplementedError) as error:
        raise UnsupportedModelError(
            "A GGUF file holds an architecture and a quantisation that Transformers can read.",
            given=f"{file}: {error}",
            mend="Choose another file, or the safetensors weights of the same model.",
        ) from error
