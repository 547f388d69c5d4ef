"""The conformance kit that built-in algorithms and plugins both pass."""
