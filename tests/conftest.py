"""Settings of all tests."""

import os

# Small networks and small machines: more threads than one cost time, here and in subprocesses.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch as th

th.set_num_threads(1)

collect_ignore = ["plugin_example"]
"""A package of its own, whose tests run where it is installed: see test_registry.py."""
