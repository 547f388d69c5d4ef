"""Damaging files by number, and judging what a loader does with them in a process of its own.

`data/mutations.py` and `experts/agent_mutations.py` are the programs: they say what there is to
damage and what a right outcome is. Their tests run them, so that crashes and hangs of libraries
show.
"""

import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

SECONDS = 30
MEMORY = 4 * 2**30


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 4, 16])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def overwrite(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    stop = min(len(content), start + rng.choice([4, 64, 4096]))
    filling = rng.choice([rng.randbytes(stop - start), bytes(stop - start)])
    return content[:start] + filling + content[stop:]


def swap_parts(content: bytes, rng: random.Random) -> bytes:
    start, stop = sorted(rng.randrange(len(content)) for _ in range(2))
    return content[:start] + content[stop:] + content[start:stop]


BYTES = (cut, flip, flip, overwrite, swap_parts)


def rewrite_zip(path: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    """Write a zip anew, with its entries changed."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


@contextmanager
def workplace() -> Iterator[Path]:
    """A temporary folder, in which warnings of damaged files are of no interest."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary)


def judge(
    sources: Mapping[str, Path],
    folder: Path,
    numbers: range,
    damage: Callable[[Path, random.Random], str],
    outcome: Callable[[str, Path, str, random.Random], str],
) -> Iterator[tuple[str, str, str]]:
    """Damage a copy for each number, print what loading it does, and give (name, damage, outcome).

    :param damage: damages a path, and says how
    :param outcome: of a name, the damaged path, and how it was damaged; begins with `refused`,
        `loaded`, or else with what is wrong
    """
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    names = list(sources)
    for number in numbers:
        name = names[number % len(names)]
        target = folder / "damaged" / sources[name].name
        shutil.rmtree(target.parent, ignore_errors=True)
        target.parent.mkdir()
        copy = shutil.copytree if sources[name].is_dir() else shutil.copy
        copy(sources[name], target)
        rng = random.Random(number)
        what = damage(target, rng)
        print(f"{number} {name}: {what}: ", end="", flush=True)
        signal.alarm(SECONDS)  # kills, as a hang in C cannot be interrupted
        result = outcome(name, target, what, rng)
        signal.alarm(0)
        print(" ".join(result.split()), flush=True)
        yield name, what, result


def outcomes(program: Path, line: re.Pattern[str], start: int, stop: int) -> list[str]:
    """Run a program, and say what became of each file; a crash or a hang leaves a line unfinished.

    :param line: what each line is like, whose only group is the outcome
    """
    done = subprocess.run(
        [sys.executable, program, str(start), str(stop)], capture_output=True, text=True
    )
    print(done.stderr)  # counts, where the program has some
    lines = done.stdout.splitlines()
    matches = [line.fullmatch(text) for text in lines]
    wrong = [text for text, match in zip(lines, matches, strict=True) if not match]
    assert (wrong, done.returncode) == ([], 0), done.stderr
    assert len(lines) == stop - start
    return [match.group(1) for match in matches if match]
