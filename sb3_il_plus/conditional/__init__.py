"""Imitation of an expert that is told what to do: one policy, many commands."""
