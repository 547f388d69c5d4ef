"""Every example runs as a newcomer would run it, and the README shows what the examples hold."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
TRAINS_LONG = {"drop_in.py"}
WRITES = {"conditional.py": ("conditional.png", "conditional.gif")}


def run(script: Path, folder: Path) -> str:
    result = subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


@pytest.mark.parametrize(
    "script",
    [path for path in EXAMPLES if path.name not in TRAINS_LONG],
    ids=lambda path: path.name,
)
def test_example_runs(script, tmp_path):
    assert run(script, tmp_path).strip()
    for name in WRITES.get(script.name, ()):
        with Image.open(tmp_path / name) as image:
            assert image.width > 500


@pytest.mark.slow
def test_drop_in_example_imitates_the_expert(tmp_path):
    output = run(ROOT / "examples" / "drop_in.py", tmp_path)
    mean_return = float(re.findall(r"\(np\.float64\((.+?)\)|\((\d+\.\d+),", output)[-1][0] or 0)
    assert mean_return > 300  # random play returns 33
    assert (tmp_path / "gail_cartpole.zip").is_file()


def python_blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize("block", python_blocks((ROOT / "README.md").read_text()))
def test_readme_shows_code_that_runs(block):
    sources = [path.read_text() for path in EXAMPLES]
    assert any(block.strip() in source for source in sources), "no example holds this code"
