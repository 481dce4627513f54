"""The workloads, as the measured process runs them: requests, their times, sizes and counted work."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, final

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from rheostat.core.errors import DataError, MeasurementError
from rheostat.core.text import Split
from rheostat.core.workload import Workload
from rheostat.measure.bench.subject import Subject
from rheostat.measure.encoding import batches, windows
from rheostat.measure.macs import batch_macs, decoding_macs
from rheostat.measure.model_cost import cost_of, forward_macs
from rheostat.measure.workload import sample
from rheostat.models.low_precision import LowPrecisionLinear

__all__ = ["Work", "cache_bytes", "make_work"]

Inputs = dict[str, Any]


class Work(ABC):
    """Requests of one workload on one subject.

    Args:
        subject: What runs them.
        workload: What they are.
        split: Texts; None for random tokens.
    """

    def __init__(self, subject: Subject, workload: Workload, split: Split | None) -> None:
        self.subject, self.workload = subject, workload
        self.requests: Sequence[Inputs] = self._requests(split)
        self._cost = cost_of(subject.model)

    @abstractmethod
    def run(self, request: Inputs) -> dict[str, float]:
        """Do a request; return seconds: ``latency`` of all of it, and of phases that it has."""

    def touch(self) -> tuple[int, int]:
        """Bring weights and code back into the caches, which another process had meanwhile; return rows and tokens."""
        self.run(self.requests[0])
        return self.rows(self.requests[0]), self.tokens(self.requests[0])

    def tokens(self, request: Inputs) -> int:
        """Return the tokens that a request reads, padding left out, or writes."""
        return sum(lengths_of(request))

    def rows(self, request: Inputs) -> int:
        """Return the rows of a request."""
        return int(request["input_ids"].shape[0])

    def macs(self, request: Inputs) -> int:
        """Count the multiply-accumulates of a request."""
        self.run(request)
        return forward_macs(self._cost, lengths_of(request), self.subject.handle).total

    def cache(self, request: Inputs) -> int | None:
        """Return the bytes of the key-value cache after a request's prompt; None where there is no cache."""
        return None

    def _requests(self, split: Split | None) -> list[Inputs]:
        """Return the requests: whole texts as they are, in batches of like length."""
        if split is None:
            return self._random(self.workload.prompt_tokens)
        chosen = sample(split, self.workload.rows * self.workload.different, self.workload.seed)
        return [inputs for _, inputs in batches(self.subject, chosen, self.workload.rows)]

    def _random(self, length: int) -> list[Inputs]:
        """Return random tokens, the same for every configuration."""
        generator = torch.Generator().manual_seed(self.workload.seed)
        shape = (self.workload.rows, min(length, self.subject.max_length))
        size = int(self.subject.model.config.vocab_size)
        drawn = [torch.randint(size, shape, generator=generator) for _ in range(self.workload.different)]
        device = self.subject.model.device
        return [{"input_ids": ids.to(device), "attention_mask": torch.ones_like(ids).to(device)} for ids in drawn]

    def _timed(self, inputs: Inputs) -> tuple[float, Any]:
        self.subject.wait()
        start = time.perf_counter()
        with torch.inference_mode():
            output = self.subject.model(**inputs)
        self.subject.wait()
        return time.perf_counter() - start, output


@final
class Classify(Work):
    """Whole forwards of a classifier."""

    def run(self, request: Inputs) -> dict[str, float]:
        """Do a forward."""
        return {"latency": self._timed(request)[0]}


class _Prompted(Work):
    """Work that starts with prompts of one length, read into a key-value cache."""

    def cache(self, request: Inputs) -> int | None:
        """Return the bytes of the cache after the prompt."""
        return cache_bytes(self._read(request)[1].past_key_values)

    def _read(self, request: Inputs) -> tuple[float, Any]:
        """Read a prompt up to the logits of the first new token."""
        return self._timed({**request, "use_cache": True, "logits_to_keep": 1})

    def _requests(self, split: Split | None) -> list[Inputs]:
        if split is None:
            return self._random(self.workload.prompt_tokens)
        return prompts(self.subject, self.workload, split)


@final
class Prefill(_Prompted):
    """Prompts up to the logits of the first new token; the cache is filled."""

    def run(self, request: Inputs) -> dict[str, float]:
        """Read a prompt."""
        seconds = self._read(request)[0]
        return {"latency": seconds, "ttft": seconds}


@final
class Generate(_Prompted):
    """Prompts, and a fixed number of new tokens after them, the likeliest each time."""

    def run(self, request: Inputs) -> dict[str, float]:
        """Read a prompt and write."""
        return self._write(request)[0]

    def touch(self) -> tuple[int, int]:
        """Read a prompt: all weights are touched, without the time that writing takes."""
        self._read(self.requests[0])
        return 0, 0

    def tokens(self, request: Inputs) -> int:
        """Return the tokens that are written."""
        return self.rows(request) * self.workload.new_tokens

    def macs(self, request: Inputs) -> int:
        """Count the prompt's work and that of every token but the last, which is never read."""
        # Only the forward over the prompt drops states, and its survivors are what the cache holds.
        with torch.inference_mode():
            self.subject.model(**request, use_cache=True, logits_to_keep=1)
        ran = self.subject.handle.last
        lengths, survivors = lengths_of(request), [] if ran is None else ran.survivors()
        prompt = batch_macs(self._cost, lengths, survivors)
        steps = self.workload.new_tokens - 1
        return (prompt + decoding_macs(self._cost, lengths, survivors, steps)).total

    def _write(self, request: Inputs) -> tuple[dict[str, float], Any]:
        count, clock = self.workload.new_tokens, _Clock(self.subject)
        self.subject.wait()
        start = time.perf_counter()
        with torch.inference_mode():
            tokens = self.subject.model.generate(
                **request,
                max_new_tokens=count,
                min_new_tokens=count,
                do_sample=False,
                num_beams=1,
                top_k=None,
                top_p=None,
                temperature=None,
                pad_token_id=self.subject.tokenizer.pad_token_id,
                stopping_criteria=StoppingCriteriaList([clock]),
            )
        end = time.perf_counter()
        found = {"latency": end - start, "ttft": clock.ticks[0] - start}
        if count > 1:
            found["tpot"] = (clock.ticks[-1] - clock.ticks[0]) / (count - 1)
        return found, tokens


@final
class Train(Work):
    """Steps of training: forward, backward, and one step of AdamW, in the model's own precision."""

    def __init__(self, subject: Subject, workload: Workload, split: Split | None) -> None:
        super().__init__(subject, workload, split)
        learnt = [parameter for parameter in subject.model.parameters() if parameter.requires_grad]
        if any(isinstance(module, LowPrecisionLinear) for module in subject.model.modules()):
            raise MeasurementError(
                "Training needs weights that can learn.",
                given="a model whose weights are in low precision",
                mend="Measure training at precision fp32.",
            )
        subject.model.train()
        # Small enough that the model stays what it was: the work of a step does not depend on the rate. Fused, as
        # Transformers' Trainer takes it: on a CPU the other one takes several times as long.
        self._optimiser = torch.optim.AdamW(learnt, lr=1e-9, fused=True)

    def run(self, request: Inputs) -> dict[str, float]:
        """Do a step."""
        self.subject.wait()
        start = time.perf_counter()
        loss = self.subject.model(**request, labels=self._labels(request)).loss
        loss.backward()
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        self.subject.wait()
        return {"latency": time.perf_counter() - start}

    def macs(self, request: Inputs) -> int:
        """Count three forwards: backward takes two products for each of forward's."""
        return 3 * super().macs(request)

    def _labels(self, request: Inputs) -> torch.Tensor:
        if self.subject.task == "causal-lm":
            ids: torch.Tensor = request["input_ids"]
            return ids.masked_fill(request["attention_mask"] == 0, -100)
        return torch.zeros(self.rows(request), dtype=torch.long, device=self.subject.model.device)


class _Clock(StoppingCriteria):
    """Notes when each token was there, and stops nothing."""

    def __init__(self, subject: Subject) -> None:
        self.ticks: list[float] = []
        self._subject = subject

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        self._subject.wait()
        self.ticks.append(time.perf_counter())
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


_WORKS: dict[str, type[Work]] = {"classify": Classify, "prefill": Prefill, "generate": Generate, "train": Train}


def make_work(subject: Subject, workload: Workload, split: Split | None) -> Work:
    """Return the requests of a workload.

    Raises:
        MeasurementError: If the model cannot do that work.
        DataError: If the texts are too short for the prompts asked for.
    """
    return _WORKS[workload.name](subject, workload, split)


def prompts(subject: Subject, workload: Workload, split: Split) -> list[Inputs]:
    """Return prompts of exactly ``workload.prompt_tokens`` tokens, cut from running texts."""
    wanted = workload.rows * workload.different
    found = windows(subject, split, workload.prompt_tokens, wanted)
    if len(found) < workload.rows:
        raise DataError(
            "The texts hold a batch of prompts.",
            given=f"{len(found)} prompts of {workload.prompt_tokens} tokens, {workload.rows} wanted",
            mend="Give longer texts, or ask for shorter prompts or fewer rows.",
        )
    whole = [ids for ids in torch.split(found, workload.rows) if len(ids) == workload.rows]
    return [{"input_ids": ids, "attention_mask": torch.ones_like(ids)} for ids in whole]


def cache_bytes(cache: Any) -> int:
    """Return the bytes that a key-value cache holds on to, whatever its layers are made of."""
    storages = {}
    for layer in cache.layers:
        for value in vars(layer).values():
            if isinstance(value, torch.Tensor):
                storage = value.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def lengths_of(inputs: Inputs) -> list[int]:
    """Return the real tokens of each row."""
    return [int(length) for length in inputs["attention_mask"].sum(1).tolist()]
