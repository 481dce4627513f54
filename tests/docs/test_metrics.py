"""The table of metrics in the docs is the one in the code. To write it anew: python -m tests.docs.test_metrics."""

from __future__ import annotations

from pathlib import Path

from rheostat.core.metrics import METRICS

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
START, END = "<!-- metrics -->\n", "<!-- end -->\n"


def table() -> str:
    rows = [f"| `{kind.name}` | {kind.unit} | {kind.better} | {kind.meaning} |" for kind in METRICS.values()]
    return "\n".join(["| metric | unit | better | definition |", "|---|---|---|---|", *rows, ""])


def test_the_table_is_up_to_date() -> None:
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    assert rest.partition(END)[0] == table()


if __name__ == "__main__":
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    PAGE.write_text(before + START + table() + END + rest.partition(END)[2], encoding="utf-8")
