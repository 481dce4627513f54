"""The arithmetic and the Markdown of `benchmarks.language`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.language_texts import WORDS
from rheostat.measure.intervals import bootstrap_interval, wilson_interval
from rheostat.measure.timing import PairedTiming

Row = dict[str, Any]


def summary(row: Row, rows: Sequence[Row]) -> Row:
    """Return a row with its perplexity, what it is times the plain model's, and the share of right last words.

    Args:
        row: What was measured, window by window: summed negative log-likelihood in nats (``losses``), ``tokens``, ...
        rows: Those before it, the plain model's on the same texts among them unless this is it.
    """
    plain = plain_of(row["texts"], [*rows, row])
    pairs = list(zip(row["losses"], row["tokens"], strict=True))
    # The same windows under both: the ratio is far surer than either perplexity.
    differences = [(loss - other, tokens) for (loss, tokens), other in zip(pairs, plain["losses"], strict=True)]
    found = {
        **row,
        "perplexity": perplexity(pairs),
        "perplexity_95": bootstrap_interval(pairs, perplexity),
        "ratio": perplexity(differences),
        "ratio_95": bootstrap_interval(differences, perplexity),
        "cache_share": sum(row["cache_bytes"]) / sum(plain["cache_bytes"]),
    }
    if row["texts"] == WORDS:
        right = sum(row["right"])
        found.update(accuracy=right / len(pairs), accuracy_95=wilson_interval(right, len(pairs)))
    return found


def perplexity(pairs: Sequence[tuple[float, int]]) -> float:
    """Return the exponential of the mean loss of a token, from sums over windows and their numbers of tokens.

    Example:
        >>> perplexity([(0.0, 1), (math.log(16), 3)])
        2.0
    """
    # A hopeless model's loss would overflow; no table needs more digits than this.
    return math.exp(min(math.fsum(loss for loss, _ in pairs) / sum(tokens for _, tokens in pairs), 100.0))


def plain_of(texts: str, rows: Sequence[Row]) -> Row:
    """Return the plain model's row on these texts."""
    return next(row for row in rows if row["texts"] == texts and row["keep"] == 1.0)


def tables(content: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    about, rows = content["about"], content["rows"]
    facts = about["machine"]
    commits = ", ".join(dict.fromkeys(row["commit"][:12] for row in rows))
    head = (
        f"{about['model']}, {about['dtype']}, {facts['cpu']}, {facts['cores']} cores, {facts['torch_threads']} threads,"
        f" torch {facts['torch']}, commit {commits}. Prompts of {about['prompt']} tokens, {about['continuation']} more"
        f" are scored, {about['windows']} windows of each text; 95 % intervals."
    )
    by_texts = {texts: [row for row in rows if row["texts"] == texts] for texts in _texts(rows)}
    parts = [head, *("\n".join(_perplexities(texts, own)) for texts, own in by_texts.items())]
    if WORDS in by_texts:
        parts.append("\n".join(_accuracies(by_texts[WORDS])))
    timed = [row for row in rows if row["seconds"] and row["texts"] != WORDS]
    if timed:
        parts.append("\n".join(_times(timed)))
    parts.append("\n".join(_caches(rows)))
    return "\n\n".join(parts)


def _perplexities(texts: str, rows: Sequence[Row]) -> Iterator[str]:
    plain = plain_of(texts, rows)
    interval = _interval(plain["perplexity_95"], ".3g")
    yield f"{texts}: perplexity, and times the plain model's {plain['perplexity']:.3g} ({interval})\n"
    yield from _grid(rows, lambda found: f"{found[0]['perplexity']:.3g}, {_ratio(found[0])}")


def _ratio(row: Row) -> str:
    return f"{row['ratio']:.3g}x ({_interval(row['ratio_95'], '.3g')})"


def _accuracies(rows: Sequence[Row]) -> Iterator[str]:
    plain = plain_of(WORDS, rows)
    yield f"{WORDS}: share of {len(plain['right'])} last words found; plain {_accuracy(plain)}\n"
    yield from _grid(rows, lambda found: _accuracy(found[0]))


def _accuracy(row: Row) -> str:
    return f"{row['accuracy']:.0%} ({_interval(row['accuracy_95'], '.0%')})"


def _times(rows: Sequence[Row]) -> Iterator[str]:
    median = _pooled(rows).plain_seconds
    yield f"Time to first token: how many times faster than the plain model, median {median:.3g} s\n"
    yield from _grid(rows, _speed)


def _speed(rows: Sequence[Row]) -> str:
    timing = _pooled(rows)
    return f"{timing.speedup:.2f}x ({_interval(timing.speedup_interval, '.2f')}), {timing.seconds:.3g} s"


def _pooled(rows: Sequence[Row]) -> PairedTiming:
    plain, other = ([s for row in rows for s in row[name]] for name in ("plain_seconds", "seconds"))
    return PairedTiming(tuple(plain), tuple(other))


def _caches(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a table of the cache: the survivors' number goes by the keep rate alone, whoever chooses them."""
    rates = _rates(rows)
    yield "Bytes of the cache after the prompt, as a share of the plain model's\n"
    yield "| texts | " + " | ".join(f"keep {rate:g}" for rate in rates) + " |"
    yield "|---|" + "---:|" * len(rates)
    for texts in _texts(rows):
        shares = [{row["cache_share"] for row in rows if (row["texts"], row["keep"]) == (texts, at)} for at in rates]
        cells = [" to ".join(f"{share:.3f}" for share in sorted(found)[:: max(1, len(found) - 1)]) for found in shares]
        yield f"| {texts} | " + " | ".join(cells) + " |"


def _grid(rows: Sequence[Row], cell: Any) -> Iterator[str]:
    rates = _rates(rows)
    yield "| scorer | " + " | ".join(f"keep {rate:g}" for rate in rates) + " |"
    yield "|---|" + "---:|" * len(rates)
    kinds = dict.fromkeys((row["scorer"], row["protect"]) for row in rows if row["keep"] < 1.0)
    for scorer, protect in kinds:
        own = [row for row in rows if (row["scorer"], row["protect"]) == (scorer, protect)]
        found = [[row for row in own if row["keep"] == rate] for rate in rates]
        name = scorer if protect == "auto" else f"{scorer}, protects {protect}"
        yield f"| {name} | " + " | ".join(cell(part) if part else "" for part in found) + " |"


def _texts(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["texts"] for row in rows))


def _rates(rows: Sequence[Row]) -> list[float]:
    return sorted({row["keep"] for row in rows if row["keep"] < 1.0}, reverse=True)


def _interval(ends: Sequence[float], form: str) -> str:
    return f"{ends[0]:{form}} to {ends[1]:{form}}"
