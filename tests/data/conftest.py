"""Settings of the property-based tests of this folder."""

from hypothesis import HealthCheck, settings

# No deadline: a busy machine is no defect. No stored examples: a clone stays clean.
settings.register_profile(
    "data",
    deadline=None,
    database=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("data")
