"""The conformance kit that built-in algorithms and plugins both pass.

`check_algorithm("name")` in one line of a plugin's tests; `checks_for("name")` for one test each.
"""

from sb3_il_plus.testing.check import ConformanceError
from sb3_il_plus.testing.kit import CHECKS, Report, check_algorithm, checks_for

__all__ = ["CHECKS", "ConformanceError", "Report", "check_algorithm", "checks_for"]
