"""Starting the command line as a process of its own, with the test plugin installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PLUGIN = Path(__file__).parent / "quick_plugin"
ENV = "quick_algorithms:QuickCart-v0"


def command(*arguments: object, log: Path | None = None) -> dict[str, Any]:
    """Arguments of `subprocess.run` and `Popen` for the command line with the plugin."""
    path = os.pathsep.join(filter(None, [str(PLUGIN), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    if log is not None:
        environment["QUICK_LOG"] = str(log)
    return {
        "args": [sys.executable, "-m", "sb3_il_plus", *map(str, arguments)],
        "env": environment,
        "text": True,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
