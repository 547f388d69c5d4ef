"""The page in the docs: its commands exist with these options, and its keys are the keys."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from sb3_il_plus.cli import app
from sb3_il_plus.human.keys import CONTROLS

PAGE = (Path(__file__).parents[2] / "docs" / "human.md").read_text("utf-8")
COMMANDS = re.findall(r"^sb3-il-plus (.*)$", PAGE, flags=re.M)


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_are_understood(line):
    name, *arguments = shlex.split(line)
    commands = typer.main.get_command(app).commands
    context = commands[name].make_context(name, arguments)
    assert context.params["debug"] is False


def test_its_keys():
    rows = re.findall(r"^\| `(\w+)` \| ", PAGE, flags=re.M)
    assert sorted(rows) == sorted(CONTROLS)
    assert len(COMMANDS) > 8
