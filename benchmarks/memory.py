"""Run: python -m benchmarks.memory [--lengths 2048 4096 8192] [--keep 0.99 0.9] [--model MODEL].

Does scoring at 8,192 tokens stay under 1.5 times the plain model's peak memory? The token dial's score needs the
column sums of the attention weights, which fused attention never has in memory as a whole; nor must the score.

Each measurement is a process of its own: the model is made, a short text is read so that nothing is loaded later, and
then, for one forward up to the logits of the next token, the peak of resident memory less what was resident just
before it. Plain eager attention, which does hold a matrix of queries by keys, is the contrast. The exit status is 1
where the limit is not kept at the greatest length. Linux only: peaks come from /proc.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from benchmarks.common import RESULTS, commit, report
from rheostat.core.errors import MeasurementError
from rheostat.measure.probes import machine
from rheostat.models.sources import load_model
from rheostat.techniques import TokenPruning, attach

LIMIT = 1.5
MEBIBYTE = 1 << 20
_ROOT = Path(__file__).parent.parent
_WARM = 64


@dataclass(frozen=True, slots=True)
class Case:
    """One forward to measure.

    Attributes:
        length: Tokens.
        attention: Transformers' name of the plain model's attention.
        keep: Keep rate; None for the plain model, without a handle.
        cache: Whether a key-value cache is filled.
        scorer: Who ranks.
        model: Folder, hub id or package; None for a small random Llama.
        layers: Blocks of the random Llama.
        threads: Threads of torch.
        allocator: ``"exact"``, where large blocks are never taken from holes in the heap, or ``"usual"``.
    """

    length: int
    attention: str = "sdpa"
    keep: float | None = None
    cache: bool = False
    scorer: str = "attention"
    model: str | None = None
    layers: int = 4
    threads: int = 1
    allocator: str = "exact"

    @property
    def what(self) -> str:
        """What the table calls it."""
        return f"plain {self.attention}" if self.keep is None else f"keep {self.keep:g}, {self.scorer}"


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    if options.one:
        print(json.dumps(measure(Case(**json.loads(options.one)))))
        return 0
    wanted = cases(options)
    found: dict[Case, list[dict[str, int]]] = {case: [] for case in wanted}
    # Round by round, so that what happens on the machine for a while does not meet one case alone.
    for number in range(options.repeats):
        for case in wanted:
            found[case].append(in_a_process(case))
            print(
                f"round {number + 1}, {case.length}, {case.allocator}, {case.what}: {found[case][-1]}", file=sys.stderr
            )
    rows = [_row(case, found) for case in wanted]
    report(options, _about(options, found), rows)
    return verdict(rows)


def cases(options: argparse.Namespace) -> list[Case]:
    """Return what is measured, each plain case before those that are compared with it."""
    base = Case(0, scorer=options.scorer, model=options.model, layers=options.layers, threads=options.threads)
    found = []
    for length in options.lengths:
        for allocator in options.allocators:
            if allocator == "exact" or length == max(options.lengths):
                for cache in (False, True):
                    plain = replace(base, length=length, cache=cache, allocator=allocator)
                    found += [plain, *(replace(plain, keep=keep) for keep in options.keep)]
        if "exact" in options.allocators and not options.no_eager:
            found.append(replace(base, length=length, attention="eager"))
    return found


def in_a_process(case: Case) -> dict[str, int]:
    """Measure a case in a fresh process, whose peak nothing else has touched.

    Raises:
        MeasurementError: If the process fails.
    """
    command = [sys.executable, "-m", "benchmarks.memory", "--one", json.dumps(asdict(case))]
    path = os.pathsep.join([str(_ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    if case.allocator == "exact":
        environment["MALLOC_MMAP_THRESHOLD_"] = str(1 << 16)
    done = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise MeasurementError(f"A measurement of {case.what} at {case.length} tokens ends well.", given=last)
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(case: Case) -> dict[str, int]:
    """Measure a case in this process, once.

    Returns:
        Bytes: resident just ``before`` the forward, the ``peak`` during it, and ``extra``, the difference.

    Raises:
        MeasurementError: If the peak cannot be read.
    """
    torch.manual_seed(0)
    torch.set_num_threads(case.threads)
    model = _model(case)
    handle = None if case.keep is None else attach(model, TokenPruning(scorer=case.scorer))
    tokens = torch.randint(3, min(1000, model.config.vocab_size), (1, case.length))
    with torch.inference_mode(), nullcontext() if handle is None else handle.at(tokens=case.keep or 1.0):
        model(tokens[:, :_WARM], use_cache=case.cache, logits_to_keep=1)
        give_back_memory()
        before = forget_peak()
        output = model(tokens, use_cache=case.cache, logits_to_keep=1)
        peak = status("VmHWM")
    if not torch.isfinite(output.logits).all():
        raise MeasurementError("Logits are finite numbers.", given=case.what)
    return {"before": before, "peak": peak, "extra": peak - before}


def verdict(rows: list[dict[str, Any]]) -> int:
    """Say whether the limit is kept at the greatest length; return the exit status."""
    longest = max(row["tokens"] for row in rows)
    worst = max(row["ratio"] for row in rows if row["tokens"] == longest and row["what"].startswith("keep"))
    kept = worst <= LIMIT
    print(f"The limit of {LIMIT} at {longest} tokens is {'kept' if kept else 'NOT kept'}: {worst:.3f} at most.")
    return 0 if kept else 1


def _model(case: Case) -> PreTrainedModel:
    if case.model is not None:
        loaded = load_model(case.model, "causal-lm").model
        loaded.set_attn_implementation(case.attention)
        return loaded
    config = LlamaConfig(
        vocab_size=1000,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=case.layers,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=16384,
    )
    model: PreTrainedModel = LlamaForCausalLM._from_config(config, attn_implementation=case.attention)
    model.eval()
    return model


def give_back_memory() -> None:
    """Let the allocator hand free pages back: a forward that is served from them would seem to need none."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def forget_peak() -> int:
    """Set the process's peak to what is resident now, and return that, in bytes."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        raise MeasurementError(
            "Peaks are read from Linux's /proc.", given=str(error), mend="Run this on Linux."
        ) from error
    return status("VmRSS")


def status(name: str) -> int:
    """Return a line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise MeasurementError("Peaks are read from Linux's /proc.", given=f"no {name}", mend="Run this on Linux.")


def _row(case: Case, found: dict[Case, list[dict[str, int]]]) -> dict[str, Any]:
    extra = _extras(found[case])
    plain = _extras(found[replace(case, attention="sdpa", keep=None)])
    whole = [sum(one["peak"] for one in found[which]) for which in (case, replace(case, attention="sdpa", keep=None))]
    return {
        "tokens": case.length,
        "allocator": case.allocator,
        "cache": "yes" if case.cache else "no",
        "what": case.what,
        "extra_MiB": median(extra),
        "least_to_most": [min(extra), max(extra)],
        "ratio": median(extra) / median(plain),
        "ratio_of_the_process": whole[0] / whole[1],
    }


def _extras(runs: list[dict[str, int]]) -> list[float]:
    return [run["extra"] / MEBIBYTE for run in runs]


def _about(options: argparse.Namespace, found: dict[Case, list[dict[str, int]]]) -> dict[str, Any]:
    return {
        "commit": commit(),
        "machine": {**machine(), "torch_threads": options.threads},
        "model": options.model or f"random Llama, 256 wide, {options.layers} blocks, 8 heads on 4",
        "repeats": options.repeats,
        "limit": LIMIT,
        "runs": [{**asdict(case), "bytes": runs} for case, runs in found.items()],
    }


def _options(arguments: list[str] | None) -> argparse.Namespace:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--model", help="folder, hub id or package:NAME; else a small random Llama")
    found.add_argument("--layers", type=int, default=4, help="blocks of the random Llama")
    found.add_argument("--lengths", type=int, nargs="+", default=[2048, 4096, 8192])
    found.add_argument("--keep", type=float, nargs="+", default=[0.99, 0.9], help="keep rates, below 1")
    found.add_argument("--scorer", default="attention")
    found.add_argument("--repeats", type=int, default=3, help="processes for each case")
    found.add_argument("--threads", type=int, default=1, help="threads of torch")
    found.add_argument("--allocators", nargs="+", choices=["exact", "usual"], default=["exact", "usual"])
    found.add_argument("--no-eager", action="store_true", help="leave out the contrast, which takes gigabytes")
    found.add_argument("--one", help=argparse.SUPPRESS)
    found.add_argument("--out", type=Path, default=RESULTS / "memory.json", help="where the JSON goes")
    return found.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
