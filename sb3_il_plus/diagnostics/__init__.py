"""Why an imitator fails: measures of what goes wrong, and their plots.

    seen = collect(model, env, 50)                  # what the imitator does
    covariate_shift(demonstrations, seen)           # does it get where the expert never was?
    compounding_error(demonstrations, seen)         # how fast does it fall behind?
    action_agreement(expert, seen)                  # would the expert do the same there?
    discriminator_calibration(gail, demonstrations, seen)   # does GAIL's discriminator still know?

All but the last need nothing but episodes. `plot_shift`, `plot_compounding_error`, `plot_agreement`
and `plot_calibration` draw several agents side by side.
"""

from sb3_il_plus.diagnostics.agreement import Agreement, action_agreement
from sb3_il_plus.diagnostics.calibration import Calibration, discriminator_calibration
from sb3_il_plus.diagnostics.compounding import CompoundingError, compounding_error
from sb3_il_plus.diagnostics.plots import (
    plot_agreement,
    plot_calibration,
    plot_compounding_error,
    plot_shift,
)
from sb3_il_plus.diagnostics.shift import CovariateShift, covariate_shift

__all__ = [
    "Agreement",
    "Calibration",
    "CompoundingError",
    "CovariateShift",
    "action_agreement",
    "compounding_error",
    "covariate_shift",
    "discriminator_calibration",
    "plot_agreement",
    "plot_calibration",
    "plot_compounding_error",
    "plot_shift",
]
