"""Damaged input never ends in a traceback, and never in a cine that is silently partial or of two patients."""

from __future__ import annotations

import pytest
from damage import KINDS, Damage, inputs, outcome_of_whole, verdict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

DAMAGE = st.builds(
    Damage,
    st.sampled_from(KINDS),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 2**64 - 1),
)
REFUSED = {"two patients", *(name for name in inputs() if name.startswith("giant"))}


@pytest.mark.parametrize("name", sorted(inputs()))
def test_whole_input_is_read_and_what_cannot_be_is_refused(name):
    shape, _ = outcome_of_whole(name)
    assert (shape is None) == (name in REFUSED)


@settings(max_examples=400, deadline=5000, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.sampled_from(sorted(inputs())), st.lists(DAMAGE, min_size=1, max_size=3))
def test_damaged_input_is_read_whole_or_with_a_remark_or_refused_in_one_sentence(name, damages):
    assert verdict(name, damages) in ("read", "remarked", "refused")
