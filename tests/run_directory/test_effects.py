"""An effect is one only where chance alone would not do."""

import math

from hypothesis import given
from hypothesis import strategies as st

from gptune.records import Evidence
from gptune.run_directory.effects import SURE, effect_of
from tests.strategies import evidences


@given(st.none() | evidences(), st.sampled_from(["forecast", "last"]))
def test_what_is_called_better_or_worse_lies_on_that_side_with_its_whole_interval(
    evidence: Evidence | None, reference: str
) -> None:
    found = effect_of(evidence, reference)
    if found is None or found.sign == "none":
        return
    assert reference == "forecast"
    assert found.wide is not None
    assert (found.size - found.wide > 0) == (found.sign == "better")
    assert (found.size + found.wide < 0) == (found.sign == "worse")


def test_the_penalty_counts_and_what_has_no_deviation_cannot_be_told() -> None:
    found = effect_of(Evidence(gain=0.5, deviation=0.1, penalty=0.9))
    assert found is not None
    assert (round(found.size, 9), found.wide, found.sign) == (-0.4, SURE * 0.1, "worse")
    assert effect_of(Evidence(gain=math.nan, deviation=0.1)) is None
    assert effect_of(None) is None
    for unsure in (
        effect_of(Evidence(gain=9.0)),
        effect_of(Evidence(gain=9.0, deviation=0.1), "last"),
    ):
        assert unsure is not None
        assert (unsure.wide, unsure.sign) == (None, "none")
