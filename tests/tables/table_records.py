"""Records of a table written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sb3_il_plus.tables.runs import RunFolder


class Records:
    """Writes jobs and records as the runner would."""

    def __init__(self, path: Path) -> None:
        self.folder = RunFolder(path)
        self.folder.prepare()
        self.jobs: list[dict[str, Any]] = []

    def add(
        self,
        id_: str,
        kind: str,
        outcome: Any,
        needs: Any = None,
        task: str | None = None,
        **settings: Any,
    ) -> None:
        """`outcome`: a result, an error as text, or None for a job that has not ended."""
        settings = {"environment": "Pole-v0", **settings}
        job = {"id": id_, "kind": kind, "settings": settings, "needs": needs or {}}
        row = settings.get("algorithm") or kind.removesuffix(" evaluation")
        cells = [] if kind == "expert" else [[task or settings["environment"], row]]
        self.jobs.append({**job, "cells": cells})
        record = {**job, "command": "sb3-il-plus compare", "versions": {"sb3_il_plus": "1.0"}}
        if isinstance(outcome, str):
            self.folder.write_record({**record, "status": "failed", "error": outcome})
        elif outcome is not None:
            self.folder.write_record({**record, "status": "finished", "result": outcome})
        self.folder.write_text("jobs.json", json.dumps(self.jobs))

    def train(
        self,
        id_: str,
        name: str,
        mean: float | str | None,
        seconds: float = 1.0,
        data: str = "d",
        **shared: Any,
    ) -> None:
        """A training on the demonstrations `data`."""
        outcome = mean
        if isinstance(mean, float):
            points = [(0, 0.0), (50, mean / 2), (100, mean)]
            outcome = {
                "mean_return": mean,
                "curve": [{"timesteps": t, "returns": [r, r]} for t, r in points],
                "timestep": "environment step",
                "environment_steps": 100,
                "expert_queries": 0,
                "training_seconds": seconds,
            }
        self.add(id_, "training", outcome, {"demonstrations": data}, algorithm=name, **shared)
