"""What we keep beside the columns, in every format that has a place for JSON.

Spaces and metadata, which other formats lack, and a checksum of each column and of the header, so
that a damaged file is noticed although the format itself would not.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.metadata import as_json, library_versions
from sb3_il_plus.errors import FileError
from sb3_il_plus.spaces import space_from_json, space_to_json

FORMAT_VERSION = 1


@dataclass
class Checksums:
    """Dtype, shape of a row and CRC-32 of each column, whatever the pieces in which they come."""

    columns: dict[str, dict[str, Any]] = field(default_factory=dict)
    n_transitions: int = 0

    def add(self, piece: Demonstrations) -> None:
        """Count the next piece in."""
        columns = piece.columns()
        columns["offsets"] = piece.offsets[1:].astype(np.int64) + self.n_transitions
        for name, column in columns.items():
            form = {"dtype": str(column.dtype), "row_shape": list(column.shape[1:])}
            entry = self.columns.setdefault(name, {**form, "crc32": 0})
            content = np.ascontiguousarray(column).reshape(-1).view(np.uint8).data
            entry["crc32"] = zlib.crc32(content, entry["crc32"])
        self.n_transitions += len(piece)


@dataclass(frozen=True)
class Header:
    """The facts about saved demonstrations."""

    observation_space: spaces.Space
    action_space: spaces.Space
    metadata: Mapping[str, Any]
    columns: Mapping[str, Mapping[str, Any]]
    """As in `Checksums`."""
    n_transitions: int

    @classmethod
    def of(cls, first: Demonstrations, sums: Checksums) -> Header:
        """Describe a stream by its first piece and the checksums of all.

        :raises DataError: the metadata is not JSON-like
        """
        return cls(
            observation_space=first.observation_space,
            action_space=first.action_space,
            metadata=as_json(first.metadata),
            columns=sums.columns,
            n_transitions=sums.n_transitions,
        )

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON."""
        content = {
            "format_version": FORMAT_VERSION,
            "versions": library_versions(),
            "observation_space": space_to_json(self.observation_space),
            "action_space": space_to_json(self.action_space),
            "metadata": self.metadata,
            "columns": self.columns,
            "n_transitions": self.n_transitions,
        }
        return {**content, "checksum": _checksum(content)}

    @classmethod
    def from_json(cls, content: Any) -> Header:
        """Read what `to_json` gave.

        :raises FileError: it is damaged, or of a newer version
        """
        if not isinstance(content, dict):
            raise FileError("its header is damaged")
        version = content.get("format_version")
        if version != FORMAT_VERSION:
            raise FileError(
                f"it has format version {version}, and this version of sb3_il_plus reads "
                f"{FORMAT_VERSION}; was it written by a newer one?"
            )
        rest = {name: value for name, value in content.items() if name != "checksum"}
        if content.get("checksum") != _checksum(rest):
            raise FileError("its header is damaged: the checksum is not that of its content")
        return cls(
            observation_space=space_from_json(content["observation_space"]),
            action_space=space_from_json(content["action_space"]),
            metadata=content["metadata"],
            columns=content["columns"],
            n_transitions=content["n_transitions"],
        )

    def verified(self, stream: Iterable[Demonstrations]) -> Iterator[Demonstrations]:
        """Pass pieces on.

        :raises FileError: after the last piece, if they are not what was saved; names the columns
        """
        found = Checksums()
        for piece in stream:
            found.add(piece)
            yield piece
        names = {**self.columns, **found.columns}
        differing = [n for n in names if self.columns.get(n) != found.columns.get(n)]
        if differing:
            raise FileError(
                f"{', '.join(differing)}: not what was saved; the file is damaged or was changed"
            )


def _checksum(content: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())
