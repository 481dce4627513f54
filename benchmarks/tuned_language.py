"""Run: python -m benchmarks.tuned_language train, then judge, speed and table, with --data FOLDER: LoRA for the dial.

What does LoRA buy a language model under the token dial? `train` tunes Gemma 3 270M for some time on prompts with
answers, the prompts pruned and the answers protected: film reviews with their verdict, articles and novels with how
they go on, and passages with their last word. All of it comes from splits that nothing is judged on. `judge` reads the
reviews of the test split, with and without the adapter, at several keep rates: the verdict is the likelier of two
words, by a threshold chosen on 200 train reviews at the same rate. With `--models` it judges one of the two, so that
both can be judged at the same time. `speed` measures time to first token on the test reviews, in turn with neutral; it
does not depend on what the weights are, and wants a machine that does nothing else.

Perplexity of continuations and last words are judged by `python -m benchmarks.language --model BUNDLE --scorers ends
--others --rates 0.4 0.2 --windows 16 --words 150 --pairs 0`, and by the same with the plain model; `table` prints them,
too, from `--language`, two files.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pandas
import torch

from benchmarks.common import GEMMA, RESULTS, commit
from benchmarks.language import dial_of, prefill
from benchmarks.language_tables import tables
from benchmarks.language_texts import Window, stretches
from rheostat.core.files import write_atomically
from rheostat.core.text import Split, TextData
from rheostat.measure.intervals import median_interval, wilson_interval
from rheostat.measure.probes import machine
from rheostat.models.sources import load_model
from rheostat.techniques import Handle, attach
from rheostat.train.adapters import Trainable
from rheostat.train.finetune import FinetuneSettings, finetune
from rheostat.train.recipes import make_recipe

VERDICTS = (" negative", " positive")
QUESTION = "\n\nThe reviewer's verdict on this film is"
PROMPT, FOLLOWING = 384, 64
HELD_OUT = 200
REVIEWS, STRETCHES, WORDS = 1200, 400, 800


def train(options: argparse.Namespace) -> None:
    """Tune the adapter; a run that was interrupted goes on."""
    rows = {"reviews": reviews(options.data), "articles": articles(options), "last words": last_words(options.data)}
    chosen = [row for found in rows.values() for row in found]
    random.Random(0).shuffle(chosen)
    split = Split([prompt for prompt, _ in chosen], [answer for _, answer in chosen])
    print({name: len(found) for name, found in rows.items()}, file=sys.stderr)
    finetune(
        FinetuneSettings(
            model=options.model,
            data=TextData({"train": split}, "causal-lm"),
            out=options.bundle,
            task="causal-lm",
            technique=dial_of(options.scorer),
            recipe=make_recipe(options.recipe, keep_low=options.keep_low),
            trainable=Trainable("lora", rank=options.rank),
            epochs=100,
            max_minutes=options.minutes,
            max_length=PROMPT + FOLLOWING,
            batch_size=options.batch,
            learning_rate=options.learning_rate,
            precision=options.precision,
            resume=True,
        )
    )


def reviews(data: Path) -> list[tuple[str, str]]:
    """Return train reviews with their verdict, but for those that thresholds are chosen on."""
    frame = _reviews(data, "train").iloc[HELD_OUT : HELD_OUT + REVIEWS]
    return [(f"{text}{QUESTION}", VERDICTS[label]) for text, label in zip(frame["text"], frame["label"], strict=True)]


def articles(options: argparse.Namespace) -> list[tuple[str, str]]:
    """Return stretches of running text with how they go on."""
    tokenizer = load_model(options.model, "causal-lm").tokenizer
    found = []
    for name, split in (("wikitext2", "valid"), ("moby_dick", "train")):
        frame = pandas.read_parquet(options.data / f"{name}.parquet")
        texts = list(frame.loc[frame["split"] == split, "text"])
        for ids in stretches(tokenizer, texts, PROMPT + FOLLOWING - 1, STRETCHES):
            found += [(str(tokenizer.decode(ids[: PROMPT - 1])), str(tokenizer.decode(ids[PROMPT - 1 :])))]
    return found


def last_words(data: Path) -> list[tuple[str, str]]:
    """Return passages of 60 to 100 words with the next word, where the passage has that word, too: as LAMBADA does."""
    frame = pandas.read_parquet(data / "moby_dick.parquet")
    drawn, found = random.Random(0), []
    for text in frame.loc[frame["split"] == "train", "text"]:
        words = text.split()
        for start in range(0, len(words) - 100, 5):
            end = start + drawn.randint(60, 100)
            last = words[end].strip(".,;:!?\"'")
            if len(last) > 3 and last.isalpha() and last in words[start:end]:
                found.append((" ".join(words[start:end]), f" {last}"))
    return drawn.sample(found, WORDS)


def judge(options: argparse.Namespace) -> None:
    """Judge verdicts on reviews, with the adapter and without."""
    tokenizer = load_model(options.model, "causal-lm").tokenizer
    chosen = review_windows(options.data, tokenizer, "train", slice(HELD_OUT))
    asked = review_windows(options.data, tokenizer, "test", slice(options.reviews))
    for name in options.models:
        loaded = load_model(_sources(options)[name], "causal-lm")
        handle = attach(loaded.model, dial_of(options.scorer))
        words = verdict_tokens(loaded.tokenizer)
        content: dict[str, Any] = {"machine": machine("cpu"), "commit": commit(), "options": _plain(options)}
        content["rows"] = []
        for keep in options.keeps:
            threshold = best_threshold(verdict_scores(handle, chosen, keep, words))
            right = [(score > threshold) == label for score, label in verdict_scores(handle, asked, keep, words)]
            row = {
                "model": name,
                "keep": keep,
                "accuracy": sum(right) / len(right),
                "accuracy_95": wilson_interval(sum(right), len(right)),
                "reviews": len(right),
                "threshold": threshold,
            }
            content["rows"].append(row)
            write_atomically(_file(options, name), json.dumps(content, indent=1) + "\n")
            print(row, file=sys.stderr)


def speed(options: argparse.Namespace) -> None:
    """Measure time to first token at each keep rate, in turn with neutral."""
    loaded = load_model(options.model, "causal-lm")
    windows = [window for window, _ in review_windows(options.data, loaded.tokenizer, "test", slice(options.pairs))]
    handle = attach(loaded.model, dial_of(options.scorer))
    rows = [{"keep": keep, "speedup": _speedup(handle, windows, keep)} for keep in options.keeps if keep < 1.0]
    content = {"machine": machine("cpu"), "commit": commit(), "options": _plain(options), "rows": rows}
    write_atomically(_file(options, "speed"), json.dumps(content, indent=1) + "\n")


def table(options: argparse.Namespace) -> None:
    """Print what was judged: a line for each keep rate, untuned and tuned beside each other."""
    verdicts = {(row["model"], row["keep"]): _verdict(row) for name in options.models for row in _rows(options, name)}
    gains = {row["keep"]: "{:.2f} ({:.2f} to {:.2f})".format(*row["speedup"]) for row in _rows(options, "speed")}
    print(
        "| keep | time to first token, times faster | "
        + " | ".join(f"verdicts, {name}" for name in options.models)
        + " |"
    )
    print("|---:|---:|" + "---:|" * len(options.models))
    for keep in options.keeps:
        cells = [verdicts.get((name, keep), "") for name in options.models]
        print(f"| {keep:g} | {gains.get(keep, '1')} | {' | '.join(cells)} |")
    for file in options.language:
        print(f"\n{file.name}\n{tables(json.loads(file.read_text(encoding='utf-8')))}")


def _verdict(row: dict[str, Any]) -> str:
    return f"{row['accuracy']:.1%} ({row['accuracy_95'][0]:.1%} to {row['accuracy_95'][1]:.1%})"


def _rows(options: argparse.Namespace, name: str) -> list[dict[str, Any]]:
    file = _file(options, name)
    return json.loads(file.read_text(encoding="utf-8"))["rows"] if file.is_file() else []


def _sources(options: argparse.Namespace) -> dict[str, str]:
    return {"untuned": options.model, "tuned": str(options.bundle)}


def review_windows(data: Path, tokenizer: Any, split: str, rows: slice) -> list[tuple[Window, bool]]:
    """Return reviews that end with the question, cut as in training, each with whether it is positive."""
    frame = _reviews(data, split).iloc[rows]
    found = []
    for text, label in zip(frame["text"], frame["label"], strict=True):
        ids = tokenizer(f"{text}{QUESTION}", verbose=False)["input_ids"]
        shown = ids if len(ids) <= PROMPT else ids[:1] + ids[len(ids) - PROMPT + 1 :]
        found.append((Window(torch.tensor([shown]), len(shown)), bool(label)))
    return found


def verdict_tokens(tokenizer: Any) -> list[int]:
    """Return the ids of the two verdicts."""
    return [tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in VERDICTS]


def verdict_scores(
    handle: Handle, windows: list[tuple[Window, bool]], keep: float, words: Sequence[int]
) -> list[tuple[float, bool]]:
    """Return by how much each review is rather positive than negative, beside whether it is."""
    with handle.at(tokens=keep):
        logits = [prefill(handle.model, window)[1].logits[0, -1] for window, _ in windows]
    negative, positive = words
    return [(float(one[positive] - one[negative]), label) for one, (_, label) in zip(logits, windows, strict=True)]


def best_threshold(scores: list[tuple[float, bool]]) -> float:
    """Return the threshold that is right most often: halfway between two scores."""
    ordered = sorted(scores)
    cuts = [ordered[0][0] - 1.0, *((a[0] + b[0]) / 2 for a, b in pairwise(ordered))]
    return max(cuts, key=lambda cut: sum((score > cut) == label for score, label in scores))


def _speedup(handle: Handle, windows: list[Window], keep: float) -> tuple[float, float, float]:
    """Return how many times faster prompts are read than at neutral, in pairs whose order is swapped."""
    ratios = []
    for number, window in enumerate(windows):
        seconds = {}
        for rate in [1.0, keep] if number % 2 else [keep, 1.0]:
            with handle.at(tokens=rate):
                seconds[rate] = prefill(handle.model, window)[0]
        ratios.append(seconds[1.0] / seconds[keep])
    return (median(ratios), *median_interval(ratios))


def _reviews(data: Path, split: str) -> pandas.DataFrame:
    frame = pandas.read_parquet(data / "imdb.parquet")
    part = frame[frame["split"] == split].sample(frac=1, random_state=0)
    return part.assign(label=(part["label"] == "positive").astype(int))


def _file(options: argparse.Namespace, name: str) -> Path:
    ends = "ends-" if options.scorer == "ends" else ""
    return Path(options.results) / f"tuned-language-{ends}{name}.json"


def _plain(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options as plain data; of a path its name alone."""
    return json.loads(json.dumps(vars(options), default=lambda path: path.name))  # type: ignore[no-any-return]


def main(arguments: list[str] | None = None) -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["train", "judge", "speed", "table"])
    parser.add_argument("--data", type=Path, help="folder with the text sets")
    parser.add_argument("--model", default=GEMMA)
    parser.add_argument("--bundle", type=Path, default=Path("benchmarks/work/gemma-tuned"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--recipe", default="mixed", help="mixed or uniform")
    parser.add_argument("--keep-low", type=float, default=0.15)
    parser.add_argument("--scorer", default="ends", help="who goes on: ends, or a scorer of the token dial, say mean")
    parser.add_argument("--learning-rate", type=float, default=4.8e-4)
    parser.add_argument(
        "--precision", choices=["auto", "fp32", "bf16"], default="auto", help="what steps are computed in"
    )
    parser.add_argument("--models", nargs="+", choices=["untuned", "tuned"], default=["untuned", "tuned"])
    parser.add_argument("--language", type=Path, nargs="*", default=[], help="files of benchmarks.language to print")
    parser.add_argument("--keeps", type=float, nargs="+", default=[1.0, 0.4, 0.2])
    parser.add_argument("--reviews", type=int, default=400, help="reviews that are judged")
    parser.add_argument("--pairs", type=int, default=16, help="reviews that are timed")
    options = parser.parse_args(arguments)
    {"train": train, "judge": judge, "speed": speed, "table": table}[options.stage](options)


if __name__ == "__main__":
    main()
