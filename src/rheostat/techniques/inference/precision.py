"""Precision: linear layers in fewer bits, through the library that is the fastest on this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, final

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from rheostat.core.errors import RheostatError, SettingError, UnsupportedModelError
from rheostat.core.knob import Knob
from rheostat.core.names import suggest
from rheostat.core.space import Conflict, Exclusion
from rheostat.models.families import locate
from rheostat.models.low_precision import LowPrecisionLinear, linear_shape, weight_bytes
from rheostat.techniques.contract import Conversion, Converted, Restriction, Target
from rheostat.techniques.inference import packaged, torch_floats, torch_int8, torch_weights
from rheostat.techniques.inference.backends import Backend
from rheostat.techniques.inference.probe import ROWS, Probe, probe, unusable
from rheostat.techniques.inference.torch_floats import CastModel

__all__ = ["PRECISIONS", "Precision", "backends_of"]

PRECISIONS = ("fp32", "bf16", "fp16", "int8", "int8-weight", "int4")
"""Every precision; the first is neutral."""

_BOUNDS = {"fp32": 0.0, "bf16": 0.05, "fp16": 0.01, "int8": 0.12, "int8-weight": 0.08, "int4": 0.6}
_LAYER_BOUNDS = {"bf16": 0.01, "fp16": 0.005, "int8": 0.06, "int8-weight": 0.05, "int4": 0.3}
"""Largest relative error of one layer on normally distributed rows; a backend beyond it is broken on this machine."""

_FEWEST_OUTPUTS = 16
"""Layers with fewer outputs, as heads for classes are, have nothing to gain."""


_BACKENDS = (*torch_floats.BACKENDS, *torch_int8.BACKENDS, *torch_weights.BACKENDS, *packaged.BACKENDS)


def backends_of(precision: str) -> tuple[Backend, ...]:
    """Return the backends that compute in a precision, whether they can be used on this machine or not."""
    return tuple(backend for backend in _BACKENDS if backend.precision == precision)


@final
@dataclass(frozen=True, slots=True)
class Precision(Conversion):
    """Linear layers in low precision, each replaced by one of the fastest library for it.

    Embeddings, norms, small heads and heads tied to the embeddings stay in float32, and are reported. ``bf16`` and
    ``fp16`` cast the whole model where that is the fastest, buffers left out. ``int8`` multiplies 8-bit weights by
    activations that are rounded to 8 bits as they come; ``int8-weight`` and ``int4`` round weights only.

    Which library computes is measured once for a machine: each candidate in turn with plain float32, on the model's own
    layers; the fastest by the geometric mean over 1 (not in encoders), 64 and 2,048 rows is taken, also where plain is
    faster still, and `Handle.report` says so. In ``int8`` an encoder's activations are rounded by the range of the
    whole batch where that is faster: a row's result depends on its batch, within the error. A decoder's, whose rows
    differ more in range, are rounded by the range of each row, unless a backend is named.

    Attributes:
        precision: ``"fp32"`` (plain), ``"bf16"``, ``"fp16"``, ``"int8"``, ``"int8-weight"`` or ``"int4"``.
        backend: ``"auto"`` for the fastest, or the name of one; see `backends_of`.
        keep_originals: Whether the original weights are kept, so that the handle can be detached. They take their
            memory as before; without them the model's memory really shrinks.

    Raises:
        SettingError: If a setting is unfit.

    Example:
        >>> Precision("int8").to_json()
        {'name': 'precision', 'precision': 'int8', 'backend': 'auto', 'keep_originals': True}
    """

    precision: str = "fp32"
    backend: str = "auto"
    keep_originals: bool = True

    name: ClassVar[str] = "precision"
    stage: ClassVar[Literal["inference"]] = "inference"
    summary: ClassVar[str] = "hold weights, and multiply, in fewer bits"
    knobs: ClassVar[tuple[Knob, ...]] = (
        Knob("precision", "how weights are held and multiplied", "fp32", choices=PRECISIONS),
        Knob(
            "backend",
            "which library computes in that precision",
            "auto",
            choices=("auto", *dict.fromkeys(each.name for each in _BACKENDS)),
        ),
    )

    @property
    def error_bound(self) -> float:
        """Largest relative error that it states for the tiny models of `rheostat.testing`.

        In int8 twice as much on a processor where torch's engines give activations 7 bits.
        """
        coarser = 2.0 ** (8 - torch_int8.activation_bits()) if self.precision == "int8" else 1.0
        return _BOUNDS[self.precision] * coarser

    @classmethod
    def restrictions(cls, target: Target) -> tuple[Restriction, ...]:
        """Leave out precisions and libraries that this machine lacks, and libraries that do not offer a precision."""
        reasons = {each: unusable(each, target.device) for each in _BACKENDS}
        usable = [each for each in _BACKENDS if reasons[each] is None]
        precisions, names = {each.precision for each in usable}, {each.name for each in usable}
        found: list[Restriction] = []
        for precision in PRECISIONS[1:]:
            offered = tuple(each.name for each in usable if each.precision == precision)
            if not offered:
                said = "; ".join(f"{each.name}: {reasons[each]}" for each in backends_of(precision))
                found.append(Exclusion("precision", precision, f"no library computes it here: {said}"))
            others = tuple(sorted(names - {*offered}))
            if precision in precisions and others:
                parts = (("precision", (precision,)), ("backend", others))
                found.append(Conflict(parts, f"these libraries do not compute in {precision} here"))
        for name in dict.fromkeys(each.name for each in _BACKENDS if each.name not in names):
            said = "; ".join(dict.fromkeys(str(reasons[each]) for each in _BACKENDS if each.name == name))
            found.append(Exclusion("backend", name, said))
        plain = (("precision", PRECISIONS[:1]), ("backend", tuple(sorted(names))))
        return (*found, Conflict(plain, "the plain model is computed by torch itself"))

    def convert(self, model: nn.Module) -> Converted:
        """Put the linear layers of a model in this precision, in place.

        Raises:
            SettingError: If the model is in low precision already, or the backend does not compute in this one.
            UnsupportedModelError: If the model is not in float32, or no library can do it here; with the reasons.
        """
        if self.precision == "fp32":
            return _Nothing()
        encoder = _is_encoder(model)
        candidates = _asked(self, encoder)
        _refuse_unfit(model)
        found = _found(model)
        timed = probe([layer for _, layer in found.layers.values()], candidates, _LAYER_BOUNDS[self.precision])
        backend = _best(timed, candidates, ROWS[1:] if encoder else ROWS)
        found.leave(backend.fits, f"of a size that {backend.name} cannot do")
        changes = _Changes(self, model, found, timed, backend)
        try:
            changes.put_on()
        except BaseException:
            changes.take_off()
            raise
        return changes


def _asked(technique: Precision, encoder: bool) -> tuple[Backend, ...]:
    backends = backends_of(technique.precision)
    if technique.backend == "auto":
        fit = technique.precision != "int8" or encoder
        return backends if fit else tuple(backend for backend in backends if backend.by_row)
    named = tuple(backend for backend in backends if backend.name == technique.backend)
    if not named:
        raise SettingError(
            f"A backend computes in the precision that is asked for, {technique.precision}.",
            given=repr(technique.backend),
            mend=suggest(technique.backend, ["auto", *(backend.name for backend in backends)]),
        )
    return named


def _is_encoder(model: nn.Module) -> bool:
    """Whether a model is known for an encoder: only others, on their cache, ever run on one row."""
    try:
        return locate(model).family.kind == "encoder"
    except UnsupportedModelError:
        return False


def _best(timed: Probe, backends: tuple[Backend, ...], rows: tuple[int, ...]) -> Backend:
    best = timed.best(rows)
    if best.unusable is not None:
        raise UnsupportedModelError(
            f"Precision {backends[0].precision} needs a library that computes it on this machine.",
            given="; ".join(f"{each.name}: {each.unusable}" for each in timed.candidates),
            mend="Choose another precision.",
        )
    return next(backend for backend in backends if backend.name == best.name)


@dataclass(slots=True)
class _Found:
    """The linear layers of a model: those to convert, by path with their parent, and why others are left."""

    layers: dict[str, tuple[nn.Module, nn.Module]] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)

    def leave(self, fits: Callable[[nn.Module], bool], reason: str) -> None:
        """Leave the layers that do not fit."""
        unfit = [path for path, (_, layer) in self.layers.items() if not fits(layer)]
        self.left.update(dict.fromkeys(unfit, reason))
        for path in unfit:
            del self.layers[path]


def _found(model: nn.Module) -> _Found:
    found = _Found()
    shared = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    for path, parent in model.named_modules():
        for name, layer in parent.named_children():
            if not isinstance(layer, nn.Linear | Conv1D):
                continue
            full = f"{path}.{name}" if path else name
            reason = _reason_to_leave(full, layer, shared)
            if reason is None:
                found.layers[full] = parent, layer
            else:
                found.left[full] = reason
    if not found.layers:
        raise UnsupportedModelError(
            "Precision needs a linear layer that can be replaced.",
            given="; ".join(f"{name}: {reason}" for name, reason in found.left.items()) or "no linear layer",
        )
    return found


def _reason_to_leave(path: str, layer: nn.Linear | Conv1D, shared: set[int]) -> str | None:
    if type(layer) not in (nn.Linear, Conv1D):
        return f"a {type(layer).__name__}, whose own forward is kept"
    if id(layer.weight) in shared:
        return "tied to the embeddings"
    if ".lora_" in path:
        return "part of an adapter"
    if layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer):
        return "has hooks of its own"
    if linear_shape(layer)[1] < _FEWEST_OUTPUTS:
        return f"fewer than {_FEWEST_OUTPUTS} outputs"
    return None


def _refuse_unfit(model: nn.Module) -> None:
    if any(isinstance(module, LowPrecisionLinear) for module in model.modules()):
        raise SettingError(
            "A model is put in low precision once.",
            given="a model with converted layers",
            mend="Detach the handle that converted it, or load the model again.",
        )
    kinds = {parameter.dtype for parameter in model.parameters()}
    if kinds != {torch.float32}:
        raise UnsupportedModelError(
            "Precision starts from a model in float32.",
            given=", ".join(sorted(map(str, kinds))) or "a model without parameters",
            mend="Load it with dtype='float32', or leave the precision at 'fp32' to run it as it is.",
        )


class _Nothing(Converted):
    """The neutral precision: nothing was changed."""

    def take_off(self) -> None:
        """Do nothing."""

    def free(self) -> None:
        """Do nothing."""

    def check_kept(self) -> None:
        """Do nothing."""

    def report(self) -> dict[str, Any]:
        """Return that nothing was changed."""
        return {"technique": Precision.name, "precision": "fp32", "backend": None, "layers": 0}


class _Changes(Converted):
    """What was changed in one model, with the originals."""

    def __init__(self, technique: Precision, model: nn.Module, found: _Found, timed: Probe, backend: Backend) -> None:
        self._technique, self._model, self._found = technique, model, found
        self._timed, self._backend = timed, backend
        self._bytes_before = weight_bytes(model)
        self._replaced: list[tuple[nn.Module, str, nn.Module]] = []
        self._cast: list[tuple[nn.Parameter, torch.Tensor]] = []
        self._freed = False

    def put_on(self) -> None:
        """Replace the layers, or cast the model."""
        if isinstance(self._backend, CastModel):
            for parameter in self._model.parameters():
                self._cast.append((parameter, parameter.data))
                parameter.data = parameter.data.to(self._backend.dtype)
            return
        made: dict[int, LowPrecisionLinear] = {}
        for path, (parent, layer) in self._found.layers.items():
            name = path.rpartition(".")[2]
            # A layer that two parents share stays one layer.
            made[id(layer)] = made.get(id(layer)) or self._backend.convert(layer)
            self._replaced.append((parent, name, layer))
            parent._modules[name] = made[id(layer)]

    def take_off(self) -> None:
        """Put the originals back."""
        for parent, name, layer in reversed(self._replaced):
            parent._modules[name] = layer
        for parameter, data in self._cast:
            parameter.data = data
        self._replaced, self._cast = [], []

    def free(self) -> None:
        """Let go of the originals, if that was asked for."""
        if self._technique.keep_originals:
            return
        self._freed, self._replaced, self._cast = True, [], []
        self._found.layers.clear()
        for module in self._model.modules():
            if isinstance(module, LowPrecisionLinear):
                module.free()

    def check_kept(self) -> None:
        """Refuse to be taken off once the originals are freed."""
        if self._freed:
            raise RheostatError(
                "A conversion that freed the original weights cannot be taken off.",
                given="keep_originals=False",
                mend="Load the model again, or convert it with keep_originals=True.",
            )

    def report(self) -> dict[str, Any]:
        """Return the backend, what was measured, and what was left as it is.

        Returns:
            ``backend`` and its ``ratios`` (float32 seconds / its seconds by number of rows), ``slower`` (the numbers of
            rows at which it is slower than plain), ``error`` (largest relative error of a layer), ``layers`` replaced
            or the ``whole_model`` cast, layers ``left`` with the reason, ``weight_bytes`` now and before, whether
            ``originals_kept``, whether the timing was ``remembered``, and all ``candidates``.
        """
        best = self._timed.of(self._backend.name)
        whole = isinstance(self._backend, CastModel)
        return {
            "technique": Precision.name,
            "precision": self._technique.precision,
            "backend": best.name,
            "ratios": dict(best.ratios),
            "slower": [rows for rows, ratio in best.ratios.items() if ratio < 1.0],
            "error": best.error,
            "rows_independent": self._backend.exact_rows,
            "layers": sum(isinstance(module, LowPrecisionLinear) for module in self._model.modules()),
            "whole_model": whole,
            "left": {} if whole else dict(self._found.left),
            "weight_bytes": weight_bytes(self._model),
            "weight_bytes_before": self._bytes_before,
            "originals_kept": not self._freed,
            "remembered": self._timed.remembered,
            "candidates": [asdict(candidate) for candidate in self._timed.candidates],
        }
