"""Make demo/data/spam.parquet from a Parquet file of mails with the columns text, label and split.

    python demo/make_data.py SOURCE [TARGET]

200 train rows are enough to show what the dial does; a linear model is hard to beat with many more. The
validation rows come from the source's train split, the test rows are the source's test rows, all of them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas

from rheostat.train.sampling import hold_out, stratified_sample

TRAIN_ROWS = 200
VALIDATION_ROWS = 300
LONGEST = 4000  # characters: keeps the file small, and is far beyond 256 tokens
SEED = 0


def choose(source: pandas.DataFrame) -> pandas.DataFrame:
    """Return the rows of the demonstration, in the order train, validation, test."""
    learnt = source[source["split"] == "train"].reset_index(drop=True)
    classes = learnt["label"].astype("category").cat.codes.tolist()
    stay, held = hold_out(classes, VALIDATION_ROWS, SEED)
    chosen = stratified_sample([classes[row] for row in stay], TRAIN_ROWS, SEED)
    parts = [
        learnt.iloc[[stay[row] for row in chosen]],
        learnt.iloc[held].assign(split="validation"),
        source[source["split"] == "test"],
    ]
    rows = pandas.concat(parts, ignore_index=True)[["text", "label", "split"]]
    return rows.assign(text=rows["text"].str.slice(0, LONGEST))


def main(source: Path, target: Path) -> None:
    rows = choose(pandas.read_parquet(source))
    rows.to_parquet(target, index=False, compression="zstd")
    print(rows.groupby(["split", "label"]).size().to_string())
    print(f"{target}: {target.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) == 3 else "demo/data/spam.parquet"))
