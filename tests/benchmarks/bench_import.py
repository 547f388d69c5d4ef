"""Seconds that `import sb3_il_plus` and `sb3-il-plus --help` take, medians of fresh processes.

python tests/benchmarks/bench_import.py
"""

import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import sb3_il_plus": [sys.executable, "-c", "import sb3_il_plus"],
    "sb3-il-plus --help": [sys.executable, "-m", "sb3_il_plus", "--help"],
}


def median_seconds(command: list[str], repeats: int = 7) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    for name, command in COMMANDS.items():
        print(f"{name:20s} {median_seconds(command):.3f} s")
