"""Offline RL: one file per algorithm, which holds its losses, and the update engine they share."""
