"""20 million transitions of HalfCheetah's shapes: converted, opened and sampled in bounded memory.

python tests/benchmarks/bench_large_data.py [--transitions N] [--folder DIR]

Needs 6 GB of disk. Writes a D4RL file of 3.5 GB, converts it with the command line to a `.mapped`
folder, and draws random batches of 256 from that, each step in a process of its own whose memory is
watched. Speed is compared with SB3's buffer of 1 million transitions in memory, in one process.

Memory is the peak of the resident memory (`VmHWM` in /proc/PID/status, pages of mapped files
included), and of its private part (`RssAnon` and `RssShmem`), which no other process can use.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch as th
from bench_sampling import BATCH_SIZE, compare, filled_buffer, halfcheetah_like

from sb3_il_plus import Demonstrations
from sb3_il_plus.data.batches import TransitionSampler
from sb3_il_plus.data.d4rl import save_d4rl

EPISODES_PER_PIECE = 100
N_BATCHES = 20_000
MEMORY = ("RssAnon", "RssShmem", "VmHWM")

SAMPLE = f"""
import sys
import torch as th
from sb3_il_plus import Demonstrations
from sb3_il_plus.data.batches import TransitionSampler
th.set_num_threads(1)
demonstrations = Demonstrations.load(sys.argv[1])
sampler = TransitionSampler(demonstrations, {BATCH_SIZE}, device="cpu", seed=0)
total = sum(float(sampler.sample().rewards.sum()) for _ in range({N_BATCHES}))
print(f"{{len(demonstrations):,}} transitions, {N_BATCHES:,} batches, sum of rewards {{total:.1f}}")
"""


def watch(command: list[str]) -> dict[str, float]:
    """Run a command and return its seconds, and the peaks of its memory in MB."""
    start, peaks = time.perf_counter(), {"private": 0.0, "resident": 0.0}
    process = subprocess.Popen(command)
    while process.poll() is None:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        if "VmHWM" in fields:  # gone while the process ends
            kilobytes = {name: int(fields[name].split()[0]) for name in MEMORY}
            private = (kilobytes["RssAnon"] + kilobytes["RssShmem"]) / 1000
            peaks["private"] = max(peaks["private"], private)
            peaks["resident"] = kilobytes["VmHWM"] / 1000
        time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"{command[:4]} failed with {process.returncode}")
    return {"seconds": time.perf_counter() - start, **peaks}


def report(name: str, figures: dict[str, float]) -> None:
    print(
        f"{name}: {figures['seconds']:.1f} s, private memory at most {figures['private']:.0f} MB, "
        f"resident in all {figures['resident']:.0f} MB",
        flush=True,
    )


def write_d4rl(path: Path, n_transitions: int) -> None:
    piece = halfcheetah_like(EPISODES_PER_PIECE)
    save_d4rl((piece for _ in range(n_transitions // len(piece))), path)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--transitions", type=int, default=20_000_000)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    th.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        d4rl, mapped = Path(folder) / "data.hdf5", Path(folder) / "data.mapped"
        write_d4rl(d4rl, arguments.transitions)
        print(f"{arguments.transitions:,} transitions, {d4rl.stat().st_size / 1e9:.2f} GB as D4RL")
        cli = [sys.executable, "-m", "sb3_il_plus"]
        report("convert to .mapped", watch([*cli, "convert", str(d4rl), str(mapped)]))
        report("inspect the folder", watch([*cli, "inspect", str(mapped)]))
        report("sample at random", watch([sys.executable, "-c", SAMPLE, str(mapped)]))
        warm_up(mapped)
        start = time.perf_counter()
        large = Demonstrations.load(mapped)
        print(f"opening takes {(time.perf_counter() - start) * 1e3:.1f} ms")
        sampler = TransitionSampler(large, BATCH_SIZE, device="cpu", seed=0)
        buffer = filled_buffer(halfcheetah_like(n_episodes=1000))
        compare(
            "mapped, against SB3's buffer of 1 million in memory",
            sampler.sample,
            lambda: buffer.sample(BATCH_SIZE),
            2 * sampler.n_ahead,  # so that every repeat gathers twice
            2 * sampler.n_ahead,
        )


def warm_up(folder: Path) -> None:
    """Bring the files into the page cache."""
    for file in folder.glob("*.npy"):
        with file.open("rb") as opened:
            while opened.read(2**24):
                pass


if __name__ == "__main__":
    main()
