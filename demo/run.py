"""The main job on real input: find the best configuration for a model, a task and this machine, and look at it work.

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
        "Search recipes, dials, precision, batch and threads for an encoder and 200 labelled mails, for eight minutes",
        "optimize demo/scenario.yaml --out STUDY",
    ),
    (
        "Measure on this machine how fast and how good the recommended bundle is at every setting of the dial",
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
        failed = subprocess.run(
            [str(Path(sys.executable).parent / "rheostat"), *words], check=False, cwd=HERE.parent
        ).returncode
        if failed:
            return failed
    print(f"\nDone in {(time.monotonic() - started) / 60:.1f} minutes. Open in a browser:")
    print(f"  {_real('STUDY')}/report.html  what was tried, and why this is recommended")
    print(f"  {_real('REPORT')}  the mail, token by token")
    return 0


def _real(word: str) -> str:
    """Return what a word in capitals stands for; paths are relative to where the commands run."""
    if word == "MAIL":
        return MAIL
    study = OUT / "study"
    paths = {
        "DATA": HERE / "data" / "spam.parquet",
        "STUDY": study,
        "BUNDLE": study / "recommended",
        "PICTURE": OUT / "map.png",
        "REPORT": REPORT,
    }
    return str(paths[word].relative_to(HERE.parent)) if word in paths else word


if __name__ == "__main__":
    sys.exit(main())
