"""The Markdown tables of `benchmarks.depth`."""

from __future__ import annotations

from typing import Any

__all__ = ["print_tables"]


def print_tables(found: dict[str, Any], speculated: dict[str, Any] | None) -> None:
    """Print what is on file: the stages of one data set, and the speculation."""
    if "depths" in found:
        _depths(found["depths"], found.get("train", {}))
    if "exits" in found:
        _exits(found["exits"])
    if speculated is not None:
        _speculated(speculated)


def _depths(found: dict[str, Any], trained: dict[str, Any]) -> None:
    recipes = list(dict.fromkeys(row["recipe"] for row in found["rows"]))
    at = {(row["recipe"], row["depth"]): row for row in found["rows"]}
    names = [f"{recipe}: {what}" for recipe in recipes for what in ("accuracy", "loss")]
    _head(found, ["depth", "measured speed-up", *names])
    for row in found["speed"]:
        cells = [f"{row['depth']}", _times(row)]
        for recipe in recipes:
            said = at[recipe, row["depth"]]
            cells += [_share(said["accuracy"], said["accuracy_95"]), f"{said['loss']:.3f}"]
        _line(cells)
    print()
    _line(["training", "steps", "seconds a step", "peak MiB"])
    _line(["---", "---:", "---:", "---:"])
    for row in found["cost"]:
        steps = trained.get(row["recipe"], {}).get("steps", "")
        _line([row["recipe"], f"{steps}", f"{row['step_seconds']:.3f}", f"{row['peak_MiB']:.0f}"])
    switch = found["switch"]
    print(
        f"\nTurning the dial takes {switch['set_us']:.1f} µs; for a block of code and back, {switch['at_us']:.1f} µs."
    )


def _exits(found: dict[str, Any]) -> None:
    _head(
        found,
        ["recipe", "criterion", "wanted", "mean depth", "accuracy", "fixed depth at this mean", "measured speed-up"],
    )
    for row in found["rows"]:
        _line(
            [
                row["recipe"],
                row["criterion"],
                f"{row['target']:.2f}",
                f"{row['mean_depth']:.2f}",
                _share(row["accuracy"], row["accuracy_95"]),
                f"{row['fixed_accuracy']:.2%}",
                _times(row),
            ]
        )
    alike, rows = (sum(row[name] for row in found["rows"]) for name in ("sample_alike", "sample_rows"))
    print(f"\nOf {rows} rows that were run with exits, {alike} left where the records say.")


def _speculated(found: dict[str, Any]) -> None:
    _head(found, ["draft depth", "tokens a second", "plain", "measured speed-up", "kept of drafts", "exactly the same"])
    for row in found["rows"]:
        _line(
            [
                f"{row['draft_depth']} of {found['blocks']}",
                f"{row['tokens_a_second']:.1f}",
                f"{row['plain_tokens_a_second']:.1f}",
                _times(row),
                f"{row['acceptance']:.0%}",
                f"{row['equal_prompts']} of {row['prompts']} prompts",
            ]
        )


def _head(found: dict[str, Any], names: list[str]) -> None:
    facts = found["machine"]
    print(f"\n{found['model']}, {facts['cpu']}, {facts['cores']} cores, torch {facts['torch']}, "
          f"commit {found['commit'][:12]}\n")  # fmt: skip
    _line(names)
    _line(["---"] + ["---:"] * (len(names) - 1))


def _times(row: dict[str, Any]) -> str:
    low, high = row["speedup_95"]
    return f"{row['speedup']:.2f}x ({low:.2f} to {high:.2f})"


def _share(value: float, interval: list[float]) -> str:
    return f"{value:.2%} ({interval[0]:.1%} to {interval[1]:.1%})"


def _line(cells: list[str]) -> None:
    print("| " + " | ".join(cells) + " |")
