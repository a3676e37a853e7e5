"""From the times of a file to instants: zones, hours that occur twice or not at all, times with their own offset."""

from datetime import UTC, datetime, timedelta, tzinfo


class LocalTimeError(ValueError):
    """A time that does not exist in the file's zone, or is not written as the mapping says."""


class Instants:
    """Gives the instant of each row, in the order of the file.

    An hour that occurs twice goes by that order: the first time through it is before the change of the clocks, from
    the row on that steps back it is after it (in a file whose times descend, the other way round).
    """

    def __init__(self, zone: tzinfo | None, form: str | None, *, descending: bool) -> None:
        self._zone = zone
        self._form = form
        self._descending = descending
        self._last: datetime | None = None
        self._second_time = False

    def of(self, text: str, *, seen_at_first: bool = False) -> int:
        """Unix seconds. `seen_at_first`: a row of the same kind had this time already, before the change.

        Raises LocalTimeError.
        """
        moment = read_time(text, self._form)
        if moment.tzinfo is not None:
            return int(moment.timestamp())
        if self._zone is None:
            raise LocalTimeError(f"{text!r} has no offset: say time.zone in the mapping")
        early, late = (moment.replace(tzinfo=self._zone, fold=fold) for fold in (0, 1))
        if early.utcoffset() == late.utcoffset():
            self._last = None
            return int(early.timestamp())
        if _in_gap(early):
            raise LocalTimeError(f"{text!r} does not exist in {self._zone}: the clocks skip it")
        return int((late if self._is_after_change(moment, seen_at_first=seen_at_first) else early).timestamp())

    def _is_after_change(self, moment: datetime, *, seen_at_first: bool) -> bool:
        if self._last is None:
            self._second_time = False
        elif (moment > self._last if self._descending else moment < self._last) or (
            moment == self._last and seen_at_first
        ):
            self._second_time = True
        self._last = moment
        return self._second_time != self._descending


def read_time(text: str, form: str | None) -> datetime:
    """By `strptime`, or as ISO 8601 without a form. Raises LocalTimeError."""
    try:
        return datetime.strptime(text, form) if form else datetime.fromisoformat(text)  # noqa: DTZ007  zone follows
    except ValueError as error:
        raise LocalTimeError(f"{text!r} is no time of the form {form or 'ISO 8601'}") from error


def _in_gap(moment: datetime) -> bool:
    """Whether the wall never showed it: the instant that is meant reads otherwise."""
    return moment.astimezone(UTC).astimezone(moment.tzinfo).replace(fold=0, tzinfo=None) != moment.replace(
        fold=0, tzinfo=None
    )


def whole_days(days: int) -> int:
    return int(timedelta(days=days).total_seconds())
