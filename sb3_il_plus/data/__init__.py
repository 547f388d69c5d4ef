"""Demonstrations: the data type, collecting, sampling, and one file per format."""

from sb3_il_plus.data.demonstrations import Demonstrations, Episode

__all__ = ["Demonstrations", "Episode"]
