"""The simulator: as many measures as asked, no two of one key, the same for the same seed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering_gateway.simulate import Simulation

pytestmark = pytest.mark.fast


@settings(deadline=None)
@given(st.integers(1, 50), st.floats(0.1, 100), st.floats(0.1, 20), st.integers())
def test_each_measure_has_a_key_of_its_own_and_none_is_in_the_future(
    devices: int, rate: float, seconds: float, seed: int
) -> None:
    simulation = Simulation(devices, rate, seconds, "sim-", seed, 1_773_241_500)
    measures = list(simulation.measures())
    keys = {(m.device_number, m.timestamp) for m in measures}
    assert len(keys) == len(measures) == simulation.count
    assert max(m.timestamp for m in measures) == 1_773_241_500
    assert measures == list(simulation.measures())
    assert len({m.device_number for m in measures}) == min(devices, simulation.count)
