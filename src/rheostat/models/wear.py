"""Put pruning on a model, and take it off again without a trace.

The base model and its blocks get a subclass of their own class, so that gradient checkpointing, PEFT, saving and
recording of outputs go on working; the attention modules see their configuration through a `ConfigView`. No weight,
buffer, hook or configuration value changes. With nothing to prune the plain class's own forward runs.
"""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import nn
from transformers import AttentionInterface, PreTrainedModel

from rheostat.core.errors import SettingError
from rheostat.models import cache as caches
from rheostat.models.attention import ATTENTION_NAME, ConfigView, rheostat_attention
from rheostat.models.families import Family, Located, locate
from rheostat.models.flow import NOTHING, Cut, Flow, Given
from rheostat.models.layouts import Layout
from rheostat.models.pruned_block import pruned_block
from rheostat.models.salience import SALIENCE, end_scores, salience_scores
from rheostat.models.segment import CURRENT_RUN, Everything, Run, Segment, current_segment
from rheostat.models.tables import table_of

__all__ = ["HALF_WIDTHS", "Director", "Order", "Worn", "wear"]

HALF_WIDTHS: Final = 8
"""In half precision on a CPU, widths are multiples of this.

There oneDNN makes a kernel of its own for every shape, about 3 ms and 0.7 MB each, and keeps up to 1,024 of them; the
dial would give each block and forward a width of its own.
"""


@dataclass(frozen=True, slots=True)
class Order:
    """What a forward is to leave out.

    Attributes:
        cut: Which states each block drops; None for none.
        depth: How many blocks run, from the first on; None for all.
    """

    cut: Cut | None = None
    depth: int | None = None


_PLAIN = Order()


class Director(ABC):
    """Says what each forward is to leave out, and hears what it did."""

    @abstractmethod
    def order(self) -> Order | None:
        """Return what a forward in this context is to leave out; None for the plain model."""

    @abstractmethod
    def ran(self, what: Flow | Everything | None) -> None:
        """Hear of a finished forward; None for a plain one."""


class Worn:
    """A model that wears pruning. `take_off` gives the very same model back.

    Args:
        model: The model, whose modules are changed in place.
        located: Where its blocks are.
        director: Who says what to drop.
    """

    def __init__(self, model: nn.Module, located: Located, director: Director) -> None:
        self.model, self.located = model, located
        self._classes: list[tuple[nn.Module, type[nn.Module]]] = []
        self._attentions = located.attentions()
        AttentionInterface.register(ATTENTION_NAME, rheostat_attention)
        self._swap(located.base, _base_class(type(located.base), director, located.family))
        for block in located.blocks:
            self._swap(block, _block_class(type(block), located.family.layout))
        for module in model.modules():
            if module is not located.base and isinstance(module, PreTrainedModel) and module.can_generate():
                self._swap(module, _generating_class(type(module), director))
        for attention in self._attentions:
            attention.config = ConfigView(attention.config)  # type: ignore[assignment]

    def take_off(self) -> None:
        """Give every module its own class and configuration back."""
        for module, plain in reversed(self._classes):
            module.__class__ = plain
        for attention in self._attentions:
            view = attention.config
            if isinstance(view, ConfigView):
                attention.config = object.__getattribute__(view, "_rheostat_config")
        self._classes, self._attentions = [], []

    def _swap(self, module: nn.Module, worn: type[nn.Module]) -> None:
        self._classes.append((module, type(module)))
        module.__class__ = worn


def wear(model: nn.Module, director: Director) -> Worn:
    """Put pruning on a model, in place.

    Args:
        model: A Transformers model of a supported family, with or without a head or PEFT adapters.
        director: Who says what each forward is to drop.

    Raises:
        UnsupportedModelError: If the family or its set-up is not supported; with the reason.
        SettingError: If the model wears pruning already.
    """
    located = locate(model)
    if getattr(type(located.base), "_rheostat_worn", False):
        raise SettingError(
            "A model wears rheostat once.",
            given=type(located.base).__name__,
            mend="Use its handle, or detach it first.",
        )
    return Worn(model, located, director)


def _named(worn: type, plain: type) -> type:
    # Saving writes the class's name into config.json, and device maps go by it.
    worn.__name__, worn.__qualname__, worn.__module__ = plain.__name__, plain.__qualname__, plain.__module__
    return worn


def _base_class(plain: type[nn.Module], director: Director, family: Family) -> type[nn.Module]:
    names = list(inspect.signature(plain.forward).parameters)[1:]

    class WornBase(plain):  # type: ignore[misc, valid-type]
        _rheostat_worn = True

        @functools.wraps(plain.forward)
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            named = {**dict(zip(names, args, strict=False)), **kwargs}
            run = _opened(self, named, director.order(), family)
            if run is None:
                director.ran(None)
                # By name, not by super(): hooks of others keep this method bound after the model's class is back.
                return plain.forward(self, *args, **kwargs)
            went_on = run.flow or _everything(run.segment, named)
            token = CURRENT_RUN.set(run)
            try:
                output = plain.forward(self, **named)
            finally:
                CURRENT_RUN.reset(token)
            director.ran(went_on)
            return output

    return _named(WornBase, plain)


def _block_class(plain: type[nn.Module], layout: Layout) -> type[nn.Module]:
    names = list(inspect.signature(plain.forward).parameters)[2:]

    class WornBlock(plain):  # type: ignore[misc, valid-type]
        _rheostat_worn = True

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            run = CURRENT_RUN.get()
            if run is None:
                return super().__call__(*args, **kwargs)
            given, *rest = args if args else (kwargs.pop("hidden_states"),)
            index = run.next_block()
            states = run.entering(index, given)
            if states is None:
                return given
            if run.flow is not None:
                # Gradient checkpointing runs forward again after the flow has ended: it must come in the arguments.
                kwargs["flow"] = (run.flow, index)
                # Hooks may keep a block's output, as recording of hidden states does: then it is not written over.
                # Asked here, because Transformers installs that recording in the first forward that wants it.
                run.flow.may_overwrite = run.flow.may_overwrite and not _has_hooks(self)
            output = super().__call__(states, *rest, **kwargs)
            run.left(index, output)
            return output

        def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            flow = kwargs.pop("flow", None)
            if flow is None:
                return plain.forward(self, hidden_states, *args, **kwargs)
            options = {**dict(zip(names, args, strict=False)), **kwargs}
            return pruned_block(self, layout, hidden_states, flow, options)

    return _named(WornBlock, plain)


def _refuse_plain_blocks(blocks: Iterable[nn.Module]) -> None:
    if not all(getattr(type(block), "_rheostat_worn", False) for block in blocks):
        raise SettingError(
            "Every block of an attached model wears rheostat.",
            given="blocks that were put in later, or a model made from the class of an attached one",
            mend="Attach after the blocks are in place; make models from the plain class.",
        )


def _has_hooks(block: nn.Module) -> bool:
    return bool(block._forward_hooks or block._forward_pre_hooks)


def _generating_class(plain: type[nn.Module], director: Director) -> type[nn.Module]:
    class WornGenerator(plain):  # type: ignore[misc, valid-type]
        @functools.wraps(plain.generate)  # type: ignore[attr-defined]
        def generate(self, *args: Any, **kwargs: Any) -> Any:
            if _cuts(director.order()):
                _refuse_generation(self, args, kwargs)
            return plain.generate(self, *args, **kwargs)  # type: ignore[attr-defined]

        @functools.wraps(plain.init_continuous_batching)  # type: ignore[attr-defined]
        def init_continuous_batching(self, *args: Any, **kwargs: Any) -> Any:
            if _cuts(director.order()):
                raise SettingError(
                    "Continuous batching keeps its own paged cache, which pruning cannot fill.",
                    given="generate_batch or init_continuous_batching",
                    mend="Use generate, or set the dial to neutral.",
                )
            return plain.init_continuous_batching(self, *args, **kwargs)  # type: ignore[attr-defined]

    return _named(WornGenerator, plain)


def _cuts(order: Order | None) -> bool:
    return order is not None and order.cut is not None


def _refuse_generation(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if kwargs.get("past_key_values") is not None:
        caches.refuse_unfit(kwargs["past_key_values"])
    given = kwargs.get("generation_config") or (args[1] if len(args) > 1 else None) or model.generation_config
    reasons = {
        "prefill_chunk_size": "Chunked prefill scores each chunk alone, so it drops other tokens than one prefill.",
        "assistant_model": "Assisted decoding rolls the cache back, which a pruned one cannot.",
        "prompt_lookup_num_tokens": "Prompt look-up decoding rolls the cache back, which a pruned one cannot.",
        "assistant_early_exit": "Early-exit assisted decoding rolls the cache back, which a pruned one cannot.",
        "cache_implementation": "Pruning needs its own dynamic cache.",
    }
    for name, rule in reasons.items():
        value = kwargs.get(name, getattr(given, name, None))
        if value is not None and value != "dynamic":
            raise SettingError(rule, given=f"{name}={value!r}", mend="Leave it out, or set the dial to neutral.")


def _opened(model: Any, named: dict[str, Any], order: Order | None, family: Family) -> Run | None:
    """Prepare a forward that is not the plain one; None where it is, once its cache is known to be whole."""
    segment, cache = current_segment(), named.get("past_key_values")
    # A pruned cache goes on with the pruned path at every setting, and only there a forward can start above the ground.
    pruned = caches.is_pruned(cache) or (cache is not None and segment is not None and segment.start > 0)
    if order is None and segment is None and not pruned:
        # As many blocks run as the configuration says: Transformers' own early-exit decoding turns that down.
        caches.refuse_holes(cache, model.config.num_hidden_layers)
        return None
    order = order or _PLAIN
    blocks = family.blocks_of(model) or ()
    _refuse_plain_blocks(blocks)
    batch, length, _ = _shape_of(named)
    segment = segment or Segment(stop=order.depth or len(blocks))
    segment.check(len(blocks), batch, length)
    cut = order.cut or (NOTHING if pruned or segment.path or segment.project else None)
    if cut is None:
        caches.refuse_holes(cache, segment.stop)
        return Run(segment, None)
    decoder = len(blocks) if family.kind == "decoder" else None
    flow = _open_flow(model, named, cut, decoder, segment)
    flow.may_overwrite = not (torch.is_grad_enabled() or segment.watch)
    return Run(segment, flow)


def _shape_of(named: dict[str, Any]) -> tuple[int, int, torch.device]:
    inputs = named.get("input_ids") if named.get("input_ids") is not None else named.get("inputs_embeds")
    if inputs is None:
        raise SettingError("A forward needs input_ids or inputs_embeds.")
    return inputs.shape[0], inputs.shape[1], inputs.device


def _everything(segment: Segment, named: dict[str, Any]) -> Everything:
    """Return what goes on in a forward that drops nothing; read before it runs, as it fills the cache."""
    batch, length, _ = _shape_of(named)
    mask, cache = named.get("attention_mask"), named.get("past_key_values")
    real = mask[:, -length:].bool() if isinstance(mask, torch.Tensor) and mask.ndim == 2 else None
    past = 0 if cache is None else int(cache.get_seq_length())
    return Everything(segment.stop, batch, length, past, real)


def _open_flow(model: Any, named: dict[str, Any], cut: Cut, cached_blocks: int | None, segment: Segment) -> Flow:
    """Prepare a pruned forward: its flow, its cache, and a stand-in for the mask, all in ``named``."""
    batch, length, device = _shape_of(named)
    full_mask = _real_columns(named.get("attention_mask"), device)
    past = _prepare_cache(model, named, cached_blocks, full_mask, segment)
    if cached_blocks is not None and full_mask is None and named.get("past_key_values") is None:
        _refuse_packed(named.get("position_ids"))
    mask = None if full_mask is None else full_mask[:, -length:]
    cut = replace(cut, marked=_marked_columns(cut.marked, batch, length, past))
    # Models hand a four-dimensional mask on as it is; so none of them builds one that nobody reads.
    named["attention_mask"] = torch.zeros((1, 1, 1, 1), device=device)
    # Where a path says who is left, nobody has to be chosen.
    scores = None if segment.path else _entry_scores(model, named, cut, mask)
    given = Given(batch, length, device, mask, _multiple(model, device), scores)
    flow = Flow(cut, given, past=past, path=segment.path)
    flow.start_at(segment.start)
    flow.projects = segment.project
    return flow


def _entry_scores(model: Any, named: dict[str, Any], cut: Cut, mask: torch.Tensor | None) -> torch.Tensor | None:
    """Return what each token is worth, where a part of the cut is made before the first block."""
    if cut.rate == 1.0 or cut.entry == 0.0:
        return None
    if cut.entry_scorer == "ends":
        batch, length, device = _shape_of(named)
        real = torch.ones((batch, length), dtype=torch.bool, device=device) if mask is None else mask
        return end_scores(real if cut.marked is None else real & ~cut.marked.to(device))
    ids, table = named.get("input_ids"), table_of(model, SALIENCE)
    if ids is None or table is None:
        raise SettingError(
            "A cut before the first block goes by the salience of token ids.",
            given="inputs_embeds" if ids is None else "a model without a table of it",
            mend="Pass input_ids."
            if ids is None
            else 'Fine-tune it with this entry, or take entry_scorer="ends" or entry=0.',
        )
    return salience_scores(table, ids, mask)


def _multiple(model: Any, device: torch.device) -> int:
    """Return what widths are to be multiples of."""
    half = torch.is_autocast_enabled(device.type) or model.dtype in (torch.bfloat16, torch.float16)
    return HALF_WIDTHS if half and device.type == "cpu" else 1


def _marked_columns(marked: torch.Tensor | None, batch: int, length: int, past: int) -> torch.Tensor | None:
    """Return what is marked of this forward's columns: nothing, where a mask of a prompt meets the tokens after it."""
    if marked is None or tuple(marked.shape) == (batch, length):
        return marked
    if marked.shape[1] <= past:
        return None
    raise SettingError(
        "A protect mask has one entry for each token of the forward.",
        given=f"{tuple(marked.shape)} for input of {(batch, length)}",
        mend="Pass a bool tensor [batch, length], and only around the forward it is meant for.",
    )


def _refuse_packed(positions: torch.Tensor | None) -> None:
    # Without a mask and a cache, Transformers takes any step but one in the positions for the start of a new text.
    if positions is not None and bool((positions.diff(dim=-1) != 1).any()):
        raise SettingError(
            "Pruning ranks the tokens of one text a row: texts packed into one row are not told apart.",
            given="position_ids that do not count on by one",
            mend="Pad the texts, one a row, or set the dial to neutral.",
        )


def _real_columns(mask: object, device: torch.device) -> torch.Tensor | None:
    if mask is None:
        return None
    if not isinstance(mask, torch.Tensor) or mask.ndim != 2:
        shape = tuple(mask.shape) if isinstance(mask, torch.Tensor) else type(mask).__name__
        raise SettingError(
            "Pruning needs to know the real tokens: attention_mask is a 2-D tensor [batch, columns], or left out.",
            given=shape,
            mend="Pass the tokenizer's attention_mask, or set the dial to neutral.",
        )
    return mask.to(device=device, dtype=torch.bool)


def _prepare_cache(
    model: Any, named: dict[str, Any], blocks: int | None, mask: torch.Tensor | None, segment: Segment
) -> int:
    """Make or adopt the cache where one is wanted; return how many columns the segment's blocks have seen."""
    if blocks is None:
        return 0
    cache = named.get("past_key_values")
    wanted = named.get("use_cache")
    wanted = model.config.use_cache if wanted is None else wanted
    if getattr(model, "gradient_checkpointing", False) and model.training:
        wanted = False
    if cache is None and not wanted:
        return 0
    cache = caches.new_cache(blocks) if cache is None else caches.adopt(cache, blocks, mask)
    caches.refuse_holes(cache, segment.stop, segment.start)
    named["past_key_values"] = cache
    past = int(cache.get_seq_length(segment.start))
    if segment.start > 0 and named.get("position_ids") is None:
        # The model would count on from its first block, which may be ahead.
        _, length, device = _shape_of(named)
        named["position_ids"] = torch.arange(past, past + length, device=device)[None]
    return past
