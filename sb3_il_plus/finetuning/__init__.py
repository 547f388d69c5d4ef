"""Reinforcement learning that begins with an imitator and does not lose what it can do."""
