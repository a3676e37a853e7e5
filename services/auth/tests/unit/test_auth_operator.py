"""Who an act of metering-admin is written down as."""

import pytest

from metering_auth.domain.actor import UnknownOperatorError, operator_name

pytestmark = pytest.mark.fast


def nobody() -> str:
    raise OSError(25, "Inappropriate ioctl for device")


def bea() -> str:
    return "bea"


def test_what_is_given_counts_before_the_environment_and_that_before_the_terminal() -> None:
    assert operator_name("ana", "eva", bea) == "ana"
    assert operator_name(None, "eva", bea) == "eva"
    assert operator_name(None, "", bea) == "bea"
    assert operator_name(None, None, bea) == "bea"


def test_without_a_terminal_a_name_must_be_given() -> None:
    assert operator_name("ana.b+ops@example.org", None, nobody) == "ana.b+ops@example.org"
    with pytest.raises(UnknownOperatorError, match="--as NAME or METERING_OPERATOR"):
        operator_name(None, None, nobody)


@pytest.mark.parametrize("name", ["a\nb", "ana\n", " ana", "ana maria", "-ana", "añá", "a" * 65, "a\x1b[31m", "ana;"])
def test_what_is_no_name_is_refused_wherever_it_comes_from(name: str) -> None:
    with pytest.raises(UnknownOperatorError, match=r"^--as: "):
        operator_name(name, None, nobody)
    with pytest.raises(UnknownOperatorError, match=r"^METERING_OPERATOR: "):
        operator_name(None, name, nobody)
    with pytest.raises(UnknownOperatorError, match=r"^the terminal's user: "):
        operator_name(None, None, lambda: name)
