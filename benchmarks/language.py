"""Run: python -m benchmarks.language --data FOLDER [--experiment protect] [--table].

What survives of language modelling, without fine-tuning? A prompt is read under the token dial, into a key-value
cache. What really follows it is then scored on that cache, in one forward with the dial at neutral, as in generation:

- perplexity of the continuation, and of LAMBADA's last words, with how often the likeliest tokens are the last word;
- time to first token, in turn with the plain model's, the order swapped from pair to pair;
- bytes of the cache after the prompt, which must be those of the survivors, exactly.

The folder holds wikitext2, moby_dick, state_of_the_union (columns text, split) and lambada (context, last_word) as
Parquet. The experiment `main` compares scorers, on test splits. The experiment `protect` decides a default, on the
splits beside them: whether the first token of a decoder's row, where much attention goes, is never dropped.

Each setting is written as soon as it is measured; run again, the script goes on where it stopped, and adds what other
options ask for. `--table` prints what is there.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import GEMMA, RESULTS, commit
from benchmarks.language_tables import summary, tables
from benchmarks.language_texts import Window, file_of, names_of, windows_of
from rheostat.core.errors import MeasurementError, SettingError
from rheostat.core.files import sha256_of, write_atomically
from rheostat.measure.probes import machine, synchroniser
from rheostat.models.sources import load_model
from rheostat.techniques import Handle, TokenPruning, attach


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the results: who ranks, which ends never go, how much stays, on which texts."""

    texts: str
    scorer: str
    protect: str
    keep: float

    @property
    def plain(self) -> bool:
        """Whether this is the plain model."""
        return self.keep == 1.0

    def of(self, row: dict[str, Any]) -> bool:
        """Whether a row is this setting's."""
        return all(row[name] == getattr(self, name) for name in self.__slots__)


def main(arguments: list[str] | None = None) -> None:
    options = _options(arguments)
    if not options.table:
        measure(options)
    print(tables(json.loads(options.out.read_text(encoding="utf-8"))))


def measure(options: argparse.Namespace) -> None:
    """Measure every setting that is not there yet."""
    torch.manual_seed(0)
    if options.threads:
        torch.set_num_threads(options.threads)
    names = names_of(options.experiment, options.words)
    content = _start(options, names)
    wanted = [one for one in settings(options, names) if not any(one.of(row) for row in content["rows"])]
    if not wanted:
        return
    loaded = load_model(options.model, "causal-lm")
    model = loaded.model.to(options.device)
    content["about"].update(model_type=model.config.model_type, dtype=str(model.dtype))
    content["about"]["attention"] = model.config._attn_implementation
    windows = {name: windows_of(name, loaded.tokenizer, options) for name in names}
    # Whatever happens once only, happens before the clock runs.
    prefill(model, windows[names[0]][0])
    work = [len(windows[one.texts]) * windows[one.texts][0].ids.shape[1] for one in wanted]
    started = time.monotonic()
    for done, one in enumerate(wanted):
        measured = {**_measured(model, one, windows[one.texts], options.pairs), "commit": commit()}
        row = summary(measured, content["rows"])
        content["rows"].append(row)
        write_atomically(options.out, json.dumps(content, indent=1) + "\n")
        left = (time.monotonic() - started) * sum(work[done + 1 :]) / sum(work[: done + 1])
        what = f"{done + 1}/{len(wanted)} {one.texts}, {one.scorer}, protect {one.protect}, keep {one.keep:g}"
        print(f"{what}: perplexity {row['perplexity']:.4g}, {left / 60:.1f} min left", file=sys.stderr)


def settings(options: argparse.Namespace, names: Sequence[str]) -> list[Setting]:
    """Return what the options ask for: the plain model first, then scorer by scorer."""
    found = [Setting(name, "plain", "auto", 1.0) for name in names]
    if options.experiment == "protect":
        pairs = [(scorer, protect) for scorer in options.scorers for protect in ("last", "both")]
        grid = [(*pair, options.rates) for pair in pairs]
    else:
        grid = [(scorer, "auto", options.rates) for scorer in options.scorers]
        grid += [(scorer, "auto", options.others_rates) for scorer in options.others if scorer not in options.scorers]
    for scorer, protect, rates in grid:
        found += [Setting(name, scorer, protect, keep) for keep in rates for name in names]
    return found


def _measured(model: Any, setting: Setting, windows: Sequence[Window], pairs: int) -> dict[str, Any]:
    scorer = "attention" if setting.plain else setting.scorer
    handle = attach(model, dial_of(scorer, setting.protect))
    try:
        row: dict[str, Any] = {name: getattr(setting, name) for name in setting.__slots__}
        row.update({name: [] for name in ("losses", "tokens", "right", "plain_seconds", "seconds", "cache_bytes")})
        for number, window in enumerate(windows):
            pair = number if number < pairs and not setting.plain else None
            for name, value in read(handle, window, setting.keep, pair=pair).items():
                row[name].append(value)
    finally:
        handle.detach()
    return row


def dial_of(scorer: str, protect: str = "auto") -> TokenPruning:
    """Return the token dial with a scorer; "ends" is none: all that goes, goes before the first block."""
    if scorer == "ends":
        return TokenPruning(protect=protect, entry=1.0, entry_scorer="ends")
    return TokenPruning(scorer=scorer, protect=protect)


def read(handle: Handle, window: Window, keep: float, *, pair: int | None = None) -> dict[str, Any]:
    """Read a window under the dial, and return what was found, by column.

    Args:
        handle: Of the model; at neutral.
        window: What is read.
        keep: Keep rate for the prompt.
        pair: Number of the pair where the plain model is timed as well; None where it is not.

    Raises:
        MeasurementError: If the cache holds anything but the survivors.
    """
    # Whoever runs second finds warmer caches: each is second half of the time.
    rates = [keep] if pair is None else [1.0, keep] if pair % 2 else [keep, 1.0]
    seconds: list[float] = []
    output: Any = None
    for rate in rates:
        with handle.at(tokens=rate):
            took, found = prefill(handle.model, window)
            if rate == keep < 1.0:
                check_bytes(found.past_key_values, entering(handle), handle.model)
        seconds.append(took)
        output = found if rate == keep else output
    row: dict[str, Any] = {"cache_bytes": sum(held_bytes(output.past_key_values))}
    if pair is not None:
        row["seconds"], row["plain_seconds"] = (seconds[rates.index(rate)] for rate in (keep, 1.0))
    logits = continue_on(handle.model, window, output)
    targets = window.ids[0, window.prompt :].to(logits.device)
    row["losses"] = float(torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum"))
    return {**row, "tokens": len(targets), "right": bool((logits.argmax(-1) == targets).all())}


@torch.inference_mode()
def prefill(model: Any, window: Window) -> tuple[float, Any]:
    """Read a prompt up to the logits of the next token, into a cache; return the seconds and the model's output."""
    prompt = window.ids[:, : window.prompt].to(model.device)
    wait = synchroniser(model.device) or (lambda: None)
    wait()
    start = time.perf_counter()
    output = model(prompt, use_cache=True, logits_to_keep=1)
    wait()
    return time.perf_counter() - start, output


@torch.inference_mode()
def continue_on(model: Any, window: Window, read: Any) -> torch.Tensor:
    """Return the logits of the continuation, ``[tokens, vocabulary]``; the dial must be at neutral."""
    following = window.ids[:, window.prompt : -1].to(model.device)
    if not following.shape[1]:
        return read.logits[0, -1:]  # type: ignore[no-any-return]
    more = model(following, past_key_values=read.past_key_values, use_cache=True)
    return torch.cat([read.logits[0, -1:], more.logits[0]])


def entering(handle: Handle) -> list[int]:
    """Return how many states entered each block in the last forward of one row."""
    return [len(rows[0]) for rows in (handle.entered(), *handle.survivors())][:-1]


def held_bytes(cache: Any) -> list[int]:
    """Return the bytes that each block's keys and values hold on to, whatever else their storage carries included."""
    return [layer.keys.untyped_storage().nbytes() + layer.values.untyped_storage().nbytes() for layer in cache.layers]


def check_bytes(cache: Any, states: Sequence[int], model: Any) -> None:
    """Check that each block's cache holds the states that entered it, and not a byte more.

    Raises:
        MeasurementError: If it does not.
    """
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    expected = [count * 2 * heads * size * model.dtype.itemsize for count in states]
    found = held_bytes(cache)
    if found != expected:
        raise MeasurementError("The cache holds the states that entered each block.", given=f"{found}, not {expected}")


def _start(options: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    """Return the results so far, or empty ones."""
    same: dict[str, Any] = {
        name: getattr(options, name) for name in ("experiment", "model", "prompt", "continuation", "windows")
    }
    same.update(words=options.words, machine=machine(options.device))
    same.update(data={name: sha256_of(file_of(options.data, name)) for name in names})
    content: dict[str, Any] = {"about": same, "rows": []}
    if not options.out.is_file() or options.fresh:
        return content
    before: dict[str, Any] = json.loads(options.out.read_text(encoding="utf-8"))
    for name, value in same.items():
        if before["about"].get(name) != value:
            raise SettingError(
                f"Results that are added to are of the same {name}.",
                given=f"{value!r}, in {options.out.name} {before['about'].get(name)!r}",
                mend="Give another --out, or --fresh to start over.",
            )
    return before


def _options(arguments: list[str] | None) -> argparse.Namespace:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--data", type=Path, help="folder with the text sets; needed unless --table")
    found.add_argument("--experiment", choices=["main", "protect"], default="main")
    found.add_argument("--model", default=GEMMA, help="folder, hub id or package:NAME of a language model")
    found.add_argument("--windows", type=int, default=12, help="prompts from each set of running texts")
    found.add_argument("--words", type=int, default=40, help="last words; 0 for none")
    found.add_argument("--prompt", type=int, default=384, help="tokens of a prompt")
    found.add_argument("--continuation", type=int, default=64, help="tokens of what follows, at least 1")
    found.add_argument("--scorers", nargs="*", help="measured at all --rates")
    found.add_argument("--rates", type=float, nargs="+", default=[0.97, 0.95, 0.9, 0.8])
    found.add_argument("--others", nargs="*", default=["last", "window", "random", "first"], help="at --others-rates")
    found.add_argument("--others-rates", type=float, nargs="+", default=[0.9])
    found.add_argument("--pairs", type=int, help="windows of each setting that are timed: 3; for protect none")
    found.add_argument("--device", default="cpu")
    found.add_argument("--threads", type=int, help="threads of torch; else its own choice")
    found.add_argument("--table", action="store_true", help="measure nothing, print what is there")
    found.add_argument("--fresh", action="store_true", help="throw away what is there")
    found.add_argument("--out", type=Path, help="where the JSON goes")
    options = found.parse_args(arguments)
    main_run = options.experiment == "main"
    if options.data is None and not options.table:
        found.error("--data is needed: the folder with the text sets")
    if min(options.prompt, options.continuation, options.windows) < 1:
        found.error("--prompt, --continuation and --windows are at least 1")
    if not all(0.0 < rate < 1.0 for rate in (*options.rates, *options.others_rates)):
        found.error("rates lie between 0 and 1; the plain model is measured anyway")
    if options.scorers is None:
        options.scorers = ["attention", "mean", "recency"] if main_run else ["attention", "mean"]
    options.pairs = options.pairs if options.pairs is not None else 3 if main_run else 0
    options.out = options.out or RESULTS / f"language-{options.experiment}.json"
    if options.table and not options.out.is_file():
        found.error(f"--table prints what was measured, and there is no {options.out}")
    return options


if __name__ == "__main__":
    main()
