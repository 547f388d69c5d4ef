"""Thin adapters: one file per trainer of the `imitation` package."""

from sb3_il_plus.spec import require

require("imitation", "sb3_il_plus.adapters")
