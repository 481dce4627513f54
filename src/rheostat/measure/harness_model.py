"""An attached model in the shape that lm-evaluation-harness asks for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from rheostat.core.errors import MeasurementError
from rheostat.core.extras import require
from rheostat.measure.continuing import is_neutral, pad, score_continuations, turned
from rheostat.measure.encoding import device_of
from rheostat.models.sources import length_limit

__all__ = ["Backend", "attached_model"]

_NEW_TOKENS: Final = 256
_LIMIT: Final = 2048
_NEW_TOKENS_NAMES: Final = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_SAMPLING: Final = ("temperature", "top_p", "top_k", "min_p", "typical_p")


class Backend:
    """Does what the harness asks of a model, on token ids and texts.

    Args:
        subject: A bundle, or a `rheostat.measure.continuing.Subject`; ``model``, ``tokenizer`` and ``handle`` are used.
        settings: Dials to turn while prompts are read.
        batch_size: Requests at a time at most.
        progress: Called with the requests done and those known so far.
    """

    def __init__(
        self,
        subject: Any,
        settings: Mapping[str, float],
        batch_size: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.subject, self.settings, self.batch_size = subject, dict(settings), batch_size
        self.neutral = is_neutral(subject, settings)
        self.limit: int = length_limit(subject.model, subject.tokenizer) or _LIMIT
        self._progress, self._done, self._total = progress, 0, 0

    @property
    def prefix(self) -> int:
        """The token that stands for an empty prompt: what starts a text, or ends the one before.

        Raises:
            MeasurementError: If the tokenizer has neither.
        """
        tokenizer = self.subject.tokenizer
        found = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        if found is None:
            raise MeasurementError(
                "Without a prompt, a text follows the token that starts or ends texts.",
                given="a tokenizer that has neither",
                mend="Set tokenizer.bos_token or tokenizer.eos_token.",
            )
        return int(found)

    def encode(self, text: str, add_special_tokens: bool | None = None) -> list[int]:
        """Return token ids, with special tokens as the tokenizer adds them, but no second one at the start."""
        tokenizer = self.subject.tokenizer
        if add_special_tokens is None:
            add_special_tokens = tokenizer.bos_token is None or not text.startswith(tokenizer.bos_token)
        return list(tokenizer.encode(text, add_special_tokens=add_special_tokens, verbose=False))

    def score(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[tuple[float, bool]]:
        """Return log-likelihood and greediness of continuations; of prompts that are too long the start is cut.

        Raises:
            MeasurementError: If a continuation alone is longer than the model reads, or one is empty.
        """
        longest = max((len(more) for _, more in pairs), default=0)
        if longest > self.limit:
            raise MeasurementError(
                f"A continuation fits the model's {self.limit} positions.",
                given=f"{longest} tokens",
                mend="Choose another task, or a model that reads longer texts.",
            )
        self._total += len(pairs)
        fitting = [(prompt[-(self.limit + 1 - len(more)) :], more) for prompt, more in pairs]
        found: dict[int, tuple[float, bool]] = {}
        for number, score in score_continuations(self.subject, fitting, self.settings, batch_size=self.batch_size):
            found[number] = (score.loglikelihood, score.greedy)
            self._tick()
        return [found[number] for number in range(len(pairs))]

    def roll(self, texts: Sequence[str]) -> list[float]:
        """Return the log-likelihood of whole texts, window by window.

        Raises:
            MeasurementError: Off neutral: with no prompt there is nothing that the dials act on.
        """
        if not self.neutral:
            raise refused_rolling("a request for the likelihood of a whole text")
        utils = require("lm_eval.utils", extra="harness")
        windows = [
            (row, utils.make_disjoint_window(window))
            for row, text in enumerate(texts)
            for window in utils.get_rolling_token_windows(self.encode(text), self.prefix, self.limit, context_len=1)
        ]
        totals = [0.0] * len(texts)
        scores = self.score([window for _, window in windows])
        for (row, _), (loglikelihood, _) in zip(windows, scores, strict=True):
            totals[row] += loglikelihood
        return totals

    def generate(self, requests: Sequence[tuple[str, dict[str, Any]]]) -> list[str]:
        """Continue prompts under the dials, each up to its stop texts.

        Args:
            requests: Prompts, and the harness's options for each: ``until``, ``max_gen_toks``, and options of
                Transformers' ``generate``.

        Raises:
            MeasurementError: If the model has no room for a prompt beside what is to be written.
        """
        self._total += len(requests)
        groups: dict[str, list[int]] = defaultdict(list)
        prompts = [self.encode(prompt) for prompt, _ in requests]
        for number in sorted(range(len(requests)), key=lambda number: -len(prompts[number])):
            groups[repr(sorted(requests[number][1].items()))].append(number)
        written: dict[int, str] = {}
        for numbers in groups.values():
            for start in range(0, len(numbers), self.batch_size):
                part = numbers[start : start + self.batch_size]
                texts = self._write([prompts[number] for number in part], requests[part[0]][1])
                written.update(zip(part, texts, strict=True))
                self._tick(len(part))
        return [written[number] for number in range(len(requests))]

    def _write(self, prompts: Sequence[list[int]], options: Mapping[str, Any]) -> list[str]:
        stops, new, rest = _generation(options)
        if new >= self.limit:
            raise MeasurementError(
                f"What is written fits the model's {self.limit} positions, with room for a prompt.",
                given=f"{new} new tokens",
                mend="Choose another task, or a model that reads longer texts.",
            )
        tokenizer, model = self.subject.tokenizer, self.subject.model
        ids, mask = pad([prompt[-(self.limit - new) :] for prompt in prompts], "left", device_of(model))
        until = StoppingCriteriaList([_Stops(tokenizer, stops, ids.shape[1])])
        padding = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        with torch.inference_mode(), turned(self.subject, self.settings):
            found = model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=new,
                pad_token_id=padding,
                stopping_criteria=until,
                **rest,
            )
        texts = tokenizer.batch_decode(found[:, ids.shape[1] :], skip_special_tokens=True)
        return [_cut(text, stops) for text in texts]

    def _tick(self, count: int = 1) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total)


def refused_rolling(given: str) -> MeasurementError:
    """Return the error for a text without a prompt, off neutral."""
    return MeasurementError(
        "The dials act while a prompt is read; the likelihood of a whole text has no prompt.",
        given=given,
        mend="Measure it at the neutral setting, or choose a task whose answers follow a prompt.",
    )


def attached_model(backend: Backend) -> Any:
    """Return an ``LM`` of lm-evaluation-harness that asks a backend.

    Prompts are read under the dials and continuations at neutral on the cache. The likelihood of a continuation without
    a prompt, which some metrics need as a reference, is read after the token that starts texts, of which nothing can be
    pruned.

    Raises:
        RheostatError: If lm-evaluation-harness is not installed.
    """
    template: Any = require("lm_eval.api.model", extra="harness").TemplateLM

    class AttachedModel(template):  # type: ignore[misc]
        """A model that is loaded already, with its dials."""

        def __init__(self) -> None:
            super().__init__()
            self.tokenizer = backend.subject.tokenizer

        @property
        def eot_token_id(self) -> int | None:
            ending: int | None = backend.subject.tokenizer.eos_token_id
            return ending

        @property
        def prefix_token_id(self) -> int:
            return backend.prefix

        def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
            return backend.encode(string, add_special_tokens)

        def loglikelihood(self, requests: list[Any], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
            found: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=disable_tqdm)
            return found

        def _loglikelihood_tokens(self, requests: list[Any], **_: Any) -> list[tuple[float, bool]]:
            return backend.score([(prompt, more) for _, prompt, more in requests])

        def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = True) -> list[float]:
            return backend.roll([request.args[0] for request in requests])

        def generate_until(self, requests: list[Any], disable_tqdm: bool = True) -> list[str]:
            return backend.generate([request.args for request in requests])

    return AttachedModel()


class _Stops(StoppingCriteria):  # type: ignore[no-untyped-call,misc,unused-ignore]
    """Ends a row once what was written holds one of the stop texts."""

    def __init__(self, tokenizer: Any, stops: Sequence[str], start: int) -> None:
        self._tokenizer, self._stops, self._start = tokenizer, tuple(stops), start
        # A token stands for at least one byte; a few more, since decoding may drop a space at the start.
        self._tail = max((len(stop.encode()) for stop in stops), default=0) + 4

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        new = input_ids[:, max(self._start, input_ids.shape[1] - self._tail) :] if self._stops else input_ids[:, :0]
        texts = self._tokenizer.batch_decode(new, skip_special_tokens=True)
        found = [any(stop in text for stop in self._stops) for text in texts]
        return torch.tensor(found, dtype=torch.bool, device=input_ids.device)


def _generation(options: Mapping[str, Any]) -> tuple[list[str], int, dict[str, Any]]:
    """Return stop texts, most new tokens, and what Transformers' ``generate`` is told."""
    rest = dict(options)
    until = rest.pop("until", None) or []
    stops = [stop for stop in ([until] if isinstance(until, str) else until) if stop]
    limits = [rest.pop(name, None) for name in _NEW_TOKENS_NAMES]
    new = next((int(limit) for limit in limits if limit is not None), _NEW_TOKENS)
    rest["do_sample"] = bool(rest.get("do_sample", rest.get("temperature", 0.0) > 0.0))
    if not rest["do_sample"]:
        rest = {name: value for name, value in rest.items() if name not in _SAMPLING}
    return stops, new, rest


def _cut(text: str, stops: Sequence[str]) -> str:
    return text[: min((at for at in (text.find(stop) for stop in stops) if at >= 0), default=len(text))]
