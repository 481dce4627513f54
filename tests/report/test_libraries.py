from __future__ import annotations

import os
import subprocess
import sys

CODE = """
import sys, rheostat.report.page, rheostat.report.survivors
heavy = ("torch", "transformers", "plotly", "matplotlib", "rich", "pandas")
print([name for name in heavy if name in sys.modules])
"""


def test_importing_the_reports_imports_no_drawing_library() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, env=environment)

    assert done.stdout.strip() == "[]"
