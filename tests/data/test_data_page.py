"""The page about data lists every format, and shows code that runs."""

import re
from pathlib import Path

from sb3_il_plus.data import Demonstrations
from sb3_il_plus.data.formats import FORMATS

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")


def test_every_format_is_in_the_table():
    table = PAGE[PAGE.index("| suffix |") : PAGE.index("SB3's replay buffers")]
    rows = re.findall(r"^\| (?:`([\w-]+)`|only read) \|(.*?)\|", table, flags=re.MULTILINE)
    listed = {name: suffixes for name, suffixes in rows if name}
    assert set(listed) == {format_.name for format_ in FORMATS if format_.write}
    assert len(rows) == len(FORMATS)
    for format_ in FORMATS:
        if format_.write:
            assert all(suffix in listed[format_.name] for suffix in format_.suffixes)


def test_the_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = PAGE
    for shown, run in {
        ".learn(10_000)": ".learn(20)",
        ".learn(100_000)": ".learn(1)",
        '"MlpPolicy", venv': '"MlpPolicy", venv, n_steps=16',
        'device="cuda"': 'device="cpu"',
    }.items():
        assert shown in page
        page = page.replace(shown, run)
    objects, large = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    known = {}
    exec(compile(objects, "data.md", "exec"), known)
    assert len(known["seen"]) == 20 and len(known["demonstrations"]) == 64
    known["demonstrations"].save("halfcheetah.mapped")
    exec(compile(large, "data.md", "exec"), known)
    assert known["observations"].shape == (256, 4)
    assert isinstance(known["demonstrations"], Demonstrations)
