"""SHiRA at run time: sparse adapters as files, switched by overwriting a few entries of each matrix."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from rheostat.core.errors import BundleError, SettingError
from rheostat.core.names import suggest
from rheostat.models.sparse import Entries, read_entries, write_entries

__all__ = ["FILE", "SparseAdapter", "SparseSwitch"]

FILE: Final = "shira.safetensors"
"""What an adapter is called in a folder."""

_HEADER, _VERSION = "rheostat_shira", 1
_INT32 = torch.iinfo(torch.int32).max


@dataclass(frozen=True, slots=True, eq=False)
class SparseAdapter:
    """A fine-tuning as a sparse change of some matrices, and whole tensors for a head.

    Sparse High Rank Adapters: https://arxiv.org/abs/2406.13175. The file differs from the authors': it also holds a
    digest of what the changed entries were, so that an adapter is never put on other weights than it was trained on.

    Attributes:
        matrices: The change of each weight, by the parameter's name in the plain model.
        whole: Parameters that are replaced, by name: a head.
        about: What it says about itself; plain data.
    """

    matrices: Mapping[str, Entries]
    whole: Mapping[str, torch.Tensor] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write it as one safetensors file: values and indices of each matrix, and a JSON header."""
        tensors = {f"whole.{name}": tensor.contiguous() for name, tensor in self.whole.items()}
        for name, entries in self.matrices.items():
            small = torch.Size(entries.shape).numel() <= _INT32
            tensors[f"values.{name}"] = entries.values.contiguous()
            tensors[f"indices.{name}"] = entries.indices.to(torch.int32 if small else torch.int64)
        matrices = {name: {"shape": list(each.shape), "base": each.base} for name, each in self.matrices.items()}
        header = {"version": _VERSION, "matrices": matrices, "whole": sorted(self.whole), "about": dict(self.about)}
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path, metadata={_HEADER: json.dumps(header)})

    @classmethod
    def load(cls, path: Path) -> SparseAdapter:
        """Read a file that `save` wrote.

        Args:
            path: The file, or a folder that holds it as `FILE`.

        Raises:
            BundleError: If it is missing, damaged, or of a newer version.
        """
        path = path / FILE if path.is_dir() else path
        try:
            with safe_open(path, framework="pt") as file:
                header = json.loads((file.metadata() or {})[_HEADER])
                if header["version"] != _VERSION:
                    raise BundleError(
                        f"This release reads sparse adapters of version {_VERSION}.",
                        given=f"{path} has version {header['version']}",
                        mend="Update rheostat.",
                    )
                whole = {name: file.get_tensor(f"whole.{name}") for name in header["whole"]}
                matrices = {name: _entries(file, name, facts) for name, facts in header["matrices"].items()}
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError(
                "A sparse adapter is a safetensors file that rheostat wrote.",
                given=f"{path}: {error}",
                mend="Name such a file, or train the adapter anew.",
            ) from error
        return cls(matrices, whole, header["about"])

    @property
    def trained(self) -> int:
        """How many numbers of the matrices it changes."""
        return sum(len(entries.values) for entries in self.matrices.values())

    @property
    def share(self) -> float:
        """The share of the entries of its matrices that it changes, in [0, 1]."""
        whole = sum(torch.Size(entries.shape).numel() for entries in self.matrices.values())
        return self.trained / max(whole, 1)


def _entries(file: Any, name: str, facts: Mapping[str, Any]) -> Entries:
    indices = file.get_tensor(f"indices.{name}").to(torch.int64)
    return Entries(indices, file.get_tensor(f"values.{name}"), tuple(facts["shape"]), facts["base"])


@dataclass(slots=True)
class _Loaded:
    """An adapter, with what its places hold in the plain model."""

    adapter: SparseAdapter
    parts: list[tuple[nn.Parameter, torch.Tensor, torch.Tensor, torch.Tensor]]
    whole: list[tuple[nn.Parameter, torch.Tensor, torch.Tensor]]


@final
class SparseSwitch:
    """Puts sparse adapters on one model and takes them off, by overwriting the entries that they change.

    Nothing is multiplied: switching costs time in proportion to the changed entries. Taking off writes the saved
    originals back, so that the model is what it was, bit for bit. While an adapter is on, the weights themselves are
    changed, for every thread: do not switch during a forward.

    Args:
        model: The plain model. Its weights must not be changed by others, or moved, while an adapter is on.

    Example:
        >>> switch = SparseSwitch(model)  # doctest: +SKIP
        >>> switch.add("spam", SparseAdapter.load(Path("bundles/spam/adapter")))  # doctest: +SKIP
        >>> switch.use(spam=1.0)  # doctest: +SKIP
        >>> switch.off()  # doctest: +SKIP
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._loaded: dict[str, _Loaded] = {}
        self._active: dict[str, float] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The adapters that were added."""
        return tuple(self._loaded)

    @property
    def active(self) -> dict[str, float]:
        """The adapters that are on, with their strengths."""
        return dict(self._active)

    def add(self, name: str, adapter: SparseAdapter) -> None:
        """Make an adapter ready to be used; the model stays as it is.

        Raises:
            SettingError: If the name is taken, or the model is not the one that the adapter was trained on.
        """
        if name in self._loaded:
            raise SettingError("Adapters have names of their own.", given=repr(name), mend="Choose another name.")
        parameters = dict(self._model.named_parameters(remove_duplicate=False))
        _check_fits(adapter, parameters)
        active = self.active
        self.off()
        try:
            self._loaded[name] = _ready(adapter, parameters)
        finally:
            self.use(**active)

    def remove(self, name: str) -> None:
        """Forget an adapter, taking it off first.

        Raises:
            SettingError: If there is none of this name.
        """
        self._check_known(name)
        self.use(**{other: strength for other, strength in self._active.items() if other != name})
        del self._loaded[name]

    def use(self, **strengths: float) -> None:
        """Put on these adapters, and no others.

        Args:
            strengths: For each adapter its strength alpha, from 0: the weights become W + alpha x S, summed over the
                adapters. 1 is as it was trained, 0 leaves it off. A head counts as a whole, whatever the strength.

        Raises:
            SettingError: If an adapter is unknown, a strength unfit, or two of them replace the same head; nothing
                changes then.
        """
        for name, strength in strengths.items():
            self._check_known(name)
            _check_strength(name, strength)
        wanted = {name: float(strength) for name, strength in strengths.items() if strength > 0}
        self._check_heads(wanted)
        self.off()
        for name, strength in wanted.items():
            self._put_on(self._loaded[name], strength, first=not self._active)
            self._active[name] = strength

    def off(self) -> None:
        """Take everything off: the model is the plain one, bit for bit."""
        for name in self._active:
            loaded = self._loaded[name]
            for weight, indices, originals, _ in loaded.parts:
                write_entries(weight, indices, originals)
            for parameter, original, _ in loaded.whole:
                parameter.data.copy_(original)
        self._active = {}

    @contextmanager
    def at(self, **strengths: float) -> Iterator[SparseSwitch]:
        """Put on these adapters, and go back to those that were on at the end, also after an error.

        Raises:
            SettingError: As `use`.
        """
        before = self.active
        self.use(**strengths)
        try:
            yield self
        finally:
            self.use(**before)

    def _put_on(self, loaded: _Loaded, strength: float, *, first: bool) -> None:
        for weight, indices, originals, values in loaded.parts:
            held = originals if first else read_entries(weight, indices)
            write_entries(weight, indices, held, values, strength)
        for parameter, _, replacement in loaded.whole:
            parameter.data.copy_(replacement)

    def _check_known(self, name: str) -> None:
        if name not in self._loaded:
            raise SettingError(
                "Adapters are added before they are used.", given=repr(name), mend=suggest(name, self._loaded)
            )

    def _check_heads(self, wanted: Mapping[str, float]) -> None:
        owners: dict[str, str] = {}
        for name in wanted:
            for parameter in self._loaded[name].adapter.whole:
                other = owners.setdefault(parameter, name)
                if other != name:
                    raise SettingError(
                        "Adapters that are on together do not replace the same head.",
                        given=f"{other} and {name} both replace {parameter}",
                        mend="Use one of them at a time.",
                    )


def _check_strength(name: str, strength: object) -> None:
    number = not isinstance(strength, bool) and isinstance(strength, int | float)
    if not number or not math.isfinite(strength) or strength < 0:  # type: ignore[arg-type, operator]
        raise SettingError(
            "The strength of an adapter is a number from 0.",
            given=f"{name}={strength!r}",
            mend="1 is as it was trained, 0 is off.",
        )


def _check_fits(adapter: SparseAdapter, parameters: Mapping[str, nn.Parameter]) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in adapter.whole.items()}
    shapes |= {name: entries.shape for name, entries in adapter.matrices.items()}
    for name, shape in shapes.items():
        held = tuple(parameters[name].shape) if name in parameters else None
        if held != shape:
            raise SettingError(
                "An adapter is put on the plain model that it was trained on.",
                given=f"{name} is {shape} in the adapter and {'not there' if held is None else held} in the model",
                mend="Load that model, with as many classes.",
            )


def _ready(adapter: SparseAdapter, parameters: Mapping[str, nn.Parameter]) -> _Loaded:
    loaded = _Loaded(adapter, [], [])
    for name, entries in adapter.matrices.items():
        weight = parameters[name]
        indices, values = entries.indices.to(weight.device), entries.values.to(weight.device)
        originals = read_entries(weight, indices)
        _check_base(name, entries, originals)
        loaded.parts.append((weight, indices, originals, values))
    for name, tensor in adapter.whole.items():
        parameter = parameters[name]
        loaded.whole.append((parameter, parameter.detach().clone(), tensor.to(parameter)))
    return loaded


def _check_base(name: str, entries: Entries, originals: torch.Tensor) -> None:
    held = Entries.digest(originals)
    # In another dtype the numbers are rounded, and cannot be compared.
    if held.partition(":")[0] == entries.base.partition(":")[0] and held != entries.base:
        raise SettingError(
            "An adapter is put on the weights that it was trained on.",
            given=f"{name} holds other numbers where the adapter changes it",
            mend="Load the model that it was trained from; a bundle's weights already hold the adapter.",
        )
