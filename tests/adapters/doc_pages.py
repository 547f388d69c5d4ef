"""Runs the code that a page of the documentation shows, with fewer timesteps."""

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs" / "algorithms"


def run_page(name: str, changes: dict[str, str], **known: Any) -> dict[str, Any]:
    """Run all Python of a page, block after block, and return its variables.

    :param name: of the page
    :param changes: text of the page -> what is run in its place; each must be there
    :param known: variables that the code finds
    """
    page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    for shown, run in changes.items():
        assert shown in page, f"{name}.md does not say {shown!r}"
        page = page.replace(shown, run)
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert blocks, f"{name}.md shows no code"
    for block in blocks:
        exec(compile(block, f"{name}.md", "exec"), known)
    return known
