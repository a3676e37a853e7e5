"""What metering-ecl prints for people."""

import pytest

from metering_ecl_poller.cli import _print_table

pytestmark = pytest.mark.fast


def test_a_table_shows_what_came_from_outside_as_it_is_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    reason = "access code [redacted] does not open controller 123456792 " * 3
    _print_table([{"serial": "123456792", "opens": False, "reason": reason, "name": None}])
    printed = capsys.readouterr().out
    assert "123456792" in printed.split()
    assert reason.strip() in printed
