"""Settings and values of the property-based tests of files."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

quick = settings(
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
"""No deadline: a busy machine is no defect. The same examples each time: nor is bad luck."""

json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(), inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["!float", "!tuple", "!dict", "!array", "!space", "!class", "!new"]),
            inner,
            min_size=1,
            max_size=1,
        ),
        st.fixed_dictionaries(
            {"!array": st.fixed_dictionaries({"dtype": inner, "shape": inner, "values": inner})}
        ),
    ),
    max_leaves=8,
)
"""Any JSON, and much that looks like what `serialization.encode` writes."""
