"""For what nobody thought of: nothing raises, the accounting closes, and both ways of validation agree."""

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from validator_support.builders import DEVICE, NOW, RECEIVED_AT_MS, context, element, measure
from validator_support.strategies import any_elements, mostly_clean

from metering_common.contract import codec
from metering_common.contract.messages import Rows, Validated
from metering_common.registry.documents import Device
from metering_validator.domain.cells import validate_by_cells
from metering_validator.domain.columns import validate_by_columns
from metering_validator.domain.context import Context, Limits, Window
from metering_validator.domain.received import UnreadableElementError, read_element
from metering_validator.domain.validation import validate

pytestmark = pytest.mark.fast

MANY = settings(max_examples=200, deadline=None)

devices = st.sampled_from(
    [
        DEVICE,
        Device(id=29, provider=1, number="29", sensors=(5,)),
        Device(id=29, provider=1, number="29", sensors=(1, 2, 3, 4, 5)),
        Device(id=29, provider=1, number="29", sensors=()),
        Device(id=29, provider=1, number="29", sensors=(1, 2, 3, 4, 5), active=False),
        Device(id=29, provider=9, number="29", sensors=(1,)),
        None,
    ]
)
stamps = st.fixed_dictionaries(
    {
        "clock_doubtful": st.booleans(),
        "received_at_ms": st.sampled_from([0, RECEIVED_AT_MS, 2**43]) | st.integers(0, 2**43),
        "source": st.sampled_from(["http", "ecl", "replay"]),
        "gateway_id": st.none() | st.just(2),
    }
)
windows = st.builds(Window, st.integers(0, 10**9), st.integers(0, 10**10))
limits = st.builds(Limits, windows, windows, st.integers(1, 5), st.integers(1, 10**6))
contexts = st.builds(
    lambda device, limits, stamped: context(device, limits=limits, **stamped),
    devices,
    st.just(Limits()) | limits,
    stamps,
)
good_contexts = st.sampled_from([(1,), (5,), (), (1, 2, 3, 4), (1, 2, 3, 4, 5)]).map(
    lambda sensors: context(Device(id=29, provider=1, number="29", sensors=sensors))
)


def check_account(validated: Validated) -> None:
    """Invariant 1, per record, and what stands in the record is what was counted."""
    counts = validated.counts
    assert counts.values == counts.accepted + counts.refused + counts.not_taken + counts.repeated
    assert counts.accepted == sum(len(row.values) for row in validated.rows)
    assert counts.not_taken == sum(entry.count for entry in validated.not_taken)
    assert counts.refused <= sum(refusal.count for refusal in validated.refusals) + validated.refusals_beyond
    for row in validated.rows:
        check_block(row)
    cells = [(time, sensor) for row in validated.rows for time in row.timestamps for sensor in row.sensors]
    assert len(set(cells)) == len(cells), "one value for a sensor and timestamp"


def check_block(row: Rows) -> None:
    assert len(row.values) == len(row.timestamps) * len(row.sensors) > 0
    assert len(row.quality) in (0, len(row.values))


@MANY
@given(any_elements, contexts)
def test_no_element_makes_validation_raise_and_the_accounting_closes(text: str, context_: Context) -> None:
    result = validate(text.encode(), context_)
    sent = [one.size() for one in read_element(text.encode()).measures]
    assert (result.validated.counts.measures, result.validated.counts.values) == (len(sent), sum(sent))
    assert result.outcome.counts == result.validated.counts
    check_account(codec.decode_validated(codec.encode(result.validated)))
    assert codec.encode(result.outcome)
    assert codec.encode(validate(text.encode(), context_).validated) == codec.encode(result.validated)


@MANY
@given(mostly_clean(), good_contexts)
@example('{"deviceNumber":"29","measures":[]}', context())
def test_columns_and_cells_give_the_same_to_the_byte(text: str, context_: Context) -> None:
    quick = validate_by_columns(text.encode(), context_)
    assume(quick is not None)
    assert quick is not None
    slow = validate_by_cells(read_element(text.encode()), context_)
    assert codec.encode(quick.validated) == codec.encode(slow.validated)
    assert codec.encode(quick.outcome) == codec.encode(slow.outcome)
    assert quick.findings_per_rule == slow.findings_per_rule


def test_a_clean_element_does_take_the_quick_way() -> None:
    clean = element(*(measure(NOW - n, ("Corriente A", n), ("CB", 1), ("Corriente C", 2)) for n in range(100)))
    assert validate_by_columns(clean, context()) is not None


@pytest.mark.parametrize(
    "spoiled",
    [
        measure(NOW, ("Corriente A", "x")),
        measure(NOW, ("Nadie", 1)),
        measure(NOW, ("EACTIVE", 1), ("Energía activa acumulada", 1)),
        measure(NOW, ("EACTIVE", -1)),
        measure(NOW + 901, ("EACTIVE", 1)),
        measure(NOW - 1, ("EACTIVE", 1)),
    ],
)
def test_anything_amiss_takes_the_long_way(spoiled: dict[str, object]) -> None:
    assert validate_by_columns(element(measure(NOW - 1, ("EACTIVE", 1)), spoiled), context()) is None


@MANY
@given(st.binary(max_size=200))
def test_bytes_that_are_no_element_are_unreadable_and_nothing_else(value: bytes) -> None:
    with pytest.raises(UnreadableElementError):
        validate(value, context())
