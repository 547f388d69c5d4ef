"""What a model logged, kept as data: one dict of plain numbers per dump of its logger."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.logger import KVWriter


class HistoryWriter(KVWriter):
    """A logger output that keeps every dump as a dict."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, Any], step: int = 0
    ) -> None:
        """Keep a dump; see SB3's `KVWriter`."""
        # Plain numbers, so that the history is JSON.
        row = {name: getattr(v, "item", lambda v=v: v)() for name, v in key_values.items()}
        self.rows.append({**row, "timesteps": step})

    def close(self) -> None:
        """Nothing to close."""
