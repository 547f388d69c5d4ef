"""`to_html`: the report as one page that needs no other file, no network and no server.

Tables can be sorted by a click on a column; plots are inside the page, as SVG. The look is in
`page.html.j2`. What the page shows comes from `blocks`, as that of Markdown and LaTeX does.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from importlib.resources import files

from sb3_il_plus.tables.blocks import RETURN_NOTES, blocks
from sb3_il_plus.tables.summary import Table


def to_html(table: Table, plots: Mapping[str, bytes]) -> str:
    """The page.

    :param plots: title -> SVG
    """
    from jinja2 import Environment

    template = files("sb3_il_plus.tables").joinpath("page.html.j2").read_text(encoding="utf-8")
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(template)
    last = table.records[-1] if table.records else {"command": "", "versions": {}}
    return page.render(
        name=table.name,
        blocks=blocks(table),
        notes=RETURN_NOTES,
        plots={title: base64.b64encode(svg).decode() for title, svg in plots.items()},
        errors=table.errors,
        n_runs=sum(len(row.returns) for row in table.rows if row.is_algorithm),
        command=last["command"],
        versions=last["versions"],
    )
