"""One self-contained page that shows a profile: no network, no other files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from rheostat.core.files import write_atomically
from rheostat.core.machine import machine_text
from rheostat.core.profile import Point, Profile
from rheostat.report.charts import macs_chart, quality_chart, survivors_chart
from rheostat.report.document import Charts, document, rerun_section
from rheostat.report.page_style import STYLE
from rheostat.report.pieces import readable_pieces
from rheostat.report.sentences import baseline_warning, headline, headline_cards
from rheostat.report.survivors import Survivors, kept_shares, survival_depths, visible_text
from rheostat.report.wording import (
    flat_facts,
    metric_name,
    metric_of,
    quality_text,
    seconds_text,
    settings_text,
    speedup_text,
)

__all__ = ["Example", "ReportData", "write_report"]


@dataclass(frozen=True, slots=True)
class Example:
    """One text and what became of its tokens.

    Attributes:
        tokens: What ``tokenizer.convert_ids_to_tokens`` returns.
        survivors: For each block, the positions that went on after it.
        setting: The dial setting in words, for instance ``tokens 0.5``.
        answer: What the model said, in words; empty where nothing is to be said.
        special: The tokenizer's special tokens; where None they are told by their shape.
    """

    tokens: Sequence[str]
    survivors: Survivors
    setting: str
    answer: str = ""
    special: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class ReportData:
    """All that a report page shows; what is missing is left out of the page.

    Attributes:
        title: The heading.
        profile: What was measured; None for a bundle that was never calibrated.
        example: One text and its survivors.
        curves: More curves of quality over speed-up by name, for instance ``{"tuned ordinarily": points}``.
        notes: Remarks that the reader must know, one sentence each.
        rerun: The commands that make these numbers again.
    """

    title: str
    profile: Profile | None = None
    example: Example | None = None
    curves: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    rerun: tuple[str, ...] = ()


def write_report(path: Path, data: ReportData) -> None:
    """Write the page as one HTML file of about 5 MB (Plotly's script is inside), whole or not at all.

    Args:
        path: Where the page goes.
        data: What it shows.

    Raises:
        RheostatError: If plotly is not installed or the file cannot be written.
    """
    write_atomically(Path(path), page_html(data))


def page_html(data: ReportData) -> str:
    """Return the page as text; every word from outside is escaped."""
    charts = Charts()
    parts = [f"<h1>{escape(data.title)}</h1>"]
    if data.profile is not None:
        parts += [_summary(data.profile), _notes(data), *_measured(data.profile, data.curves, charts)]
    else:
        parts += [
            '<p class="lead">This bundle has not been measured yet: rheostat calibrate does that.</p>',
            _notes(data),
        ]
    parts += _example(data.example, charts) if data.example is not None else []
    parts += _facts(data.profile) if data.profile is not None else []
    parts += [rerun_section(data.rerun)]
    return document(data.title, STYLE, "\n".join(filter(None, parts)))


def _summary(profile: Profile) -> str:
    cards = "".join(
        f"<div><dt>{escape(label)}</dt><dd><strong>{escape(value)}</strong>{escape(more)}</dd></div>"
        for label, value, more in headline_cards(profile)
    )
    return f'<p class="lead">{escape(headline(profile))}</p><dl class="cards">{cards}</dl>'


def _notes(data: ReportData) -> str:
    warning = baseline_warning(data.profile) if data.profile is not None else ""
    return "".join(f'<p class="note">{escape(note)}</p>' for note in (warning, *data.notes) if note)


def _measured(profile: Profile, curves: Mapping[str, Sequence[Point]], charts: Charts) -> list[str]:
    metric = metric_of(profile)
    parts = []
    if metric:
        name = metric_name(metric)
        alternative = f"{name} over measured speed-up: " + "; ".join(
            f"{speedup_text(point)}: {quality_text(metric, point.quality.get(metric))}" for point in profile.points
        )
        caption = (
            f"Each point is one setting of the dial; the number at a point is {', '.join(profile.neutral)}. "
            "Bars are 95 % intervals; level lines are simple models on the same data."
        )
        chart = charts.add(quality_chart(profile, metric, curves), alternative, caption)
        parts.append(f"<h2>{escape(name.capitalize())} and measured speed-up</h2>{chart}")
    parts.append(f"<h2>All points</h2>{_table(profile, metric)}")
    alternative = "Measured speed-up over counted: " + "; ".join(
        f"counted {point.macs_ratio:.2f}x, measured {speedup_text(point)}" for point in profile.points
    )
    caption = (
        "Counted: multiply-accumulates of the plain model / those of the setting. On the dashed line the "
        "clock confirms the count; below it, work outside the counted products eats the gain."
    )
    chart = charts.add(macs_chart(profile), alternative, caption)
    parts.append(f"<h2>Does the clock agree with the count?</h2>{chart}")
    return parts


def _table(profile: Profile, metric: str) -> str:
    metrics = (
        [metric, *sorted({name for point in profile.points for name in point.quality} - {metric})] if metric else []
    )
    heads = [
        "setting",
        "speed-up (95 % interval)",
        "time",
        "counted work",
        *(metric_name(name) for name in metrics),
    ]
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    rows = "".join(_row(point, metrics, profile) for point in sorted(profile.points, key=lambda p: p.macs_ratio))
    simple = "".join(
        f'<tr><th scope="row">{escape(name)} (simple model)</th><td></td><td></td><td></td>'
        + "".join(f"<td>{quality_text(metric, values.get(metric))}</td>" for metric in metrics)
        + "</tr>"
        for name, values in profile.baselines.items()
    )
    caption = (
        "Time is the median of the timed work. "
        "Counted work is the plain model's multiply-accumulates / those of the setting."
    )
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="All points">'
        f"<table><caption>{caption}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{rows}{simple}</tbody></table></div>"
    )


def _row(point: Point, metrics: Sequence[str], profile: Profile) -> str:
    plain = dict(point.settings) == dict(profile.neutral)
    name = settings_text(point) + (" (plain model)" if plain else "")
    cells = [speedup_text(point), seconds_text(point.seconds), f"{point.macs_ratio:.2f}x"]
    cells += [_with_interval(metric, point) for metric in metrics]
    mark = ' class="plain"' if plain else ""
    return (
        f'<tr{mark}><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
    )


def _with_interval(metric: str, point: Point) -> str:
    text = quality_text(metric, point.quality.get(metric))
    if metric not in point.quality_interval:
        return text
    low, high = (quality_text(metric, end).removesuffix(" %") for end in point.quality_interval[metric])
    return f"{text} ({low} to {high})"


def _example(example: Example, charts: Charts) -> list[str]:
    length, blocks = len(example.tokens), len(example.survivors)
    kept = kept_shares(length, example.survivors)
    answer = f" The model says: {escape(example.answer)}." if example.answer else ""
    parts = [
        "<h2>Which tokens went on</h2>"
        f"<p>One text of {length} tokens through {blocks} blocks, at {escape(example.setting)}.{answer}</p>",
        _coloured_text(example),
    ]
    if blocks and length:
        alternative = "Share of tokens kept: " + ", ".join(f"block {n} {share:.0%}" for n, share in enumerate(kept, 1))
        caption = "Blue: the token went on after the block. Grey: dropped. At the right, the share of tokens kept."
        parts.append(charts.add(survivors_chart(example.tokens, example.survivors), alternative, caption))
    return parts


def _coloured_text(example: Example) -> str:
    blocks = len(example.survivors)
    depths = survival_depths(len(example.tokens), example.survivors)
    pieces = readable_pieces(example.tokens, example.special)
    words = []
    for piece, depth in zip(pieces, depths, strict=True):
        fate = "kept to the end" if depth >= blocks else f"dropped by block {depth + 1}"
        marks = "t" + (" end" if depth >= blocks else "") + (" special" if piece.special else "")
        share = depth / blocks if blocks else 1.0
        blank, word = " " if piece.spaced else "", escape(visible_text(piece))
        words.append(f'{blank}<span class="{marks}" style="--d:{share:.2f}" title="{fate}">{word}</span>')
    steps = "".join(f'<span class="t" style="--d:{depth / 4:.2f}">{word}</span>' for depth, word in _STEPS)
    end = '<span class="t end" style="--d:1">kept to the end</span>'
    legend = f'<p class="legend soft">The longer a token went on, the stronger its mark: {steps}{end}</p>'
    return f'<p class="tokens">{"".join(words)}</p>{legend}'


def _facts(profile: Profile) -> list[str]:
    parts = [f"<h2>Machine, model and data</h2><p>{escape(machine_text(profile.device))}</p>"]
    for heading, facts in (("Machine", profile.device), ("Model", profile.model), ("Data", profile.data)):
        rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in flat_facts(facts))
        parts.append(f'<h3>{heading}</h3><dl class="facts">{rows}</dl>' if rows else "")
    return parts


_STEPS = ((0, "dropped first"), (1, "a quarter"), (2, "half"), (3, "three quarters"))
