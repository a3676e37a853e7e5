"""How the numbers of a file are written: which mark is for decimals and which for thousands, if it can be told."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

_NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)*(?:[eE][+-]?\d+)?")
_PLAIN = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_GROUP = 3


class NumberFormatError(ValueError):
    """The numbers of a file can be read in two ways, or contradict each other."""


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """`thousands` is empty if no mark separates them."""

    decimal: str
    thousands: str = ""

    def read(self, text: str) -> Decimal:
        """Raises ValueError for what is no finite number of this format, NaN included."""
        plain = text
        if self.thousands and self.thousands in text:
            if not re.fullmatch(rf"[+-]?\d{{1,3}}(?:{re.escape(self.thousands)}\d{{3}})+(?:\D.*)?", text):
                raise ValueError(f"{text!r} is no number")
            plain = text.replace(self.thousands, "")
        elif "." in text and self.decimal != ".":
            raise ValueError(f'{text!r} is no number: is the point for thousands? then say "thousands": "."')
        plain = plain.replace(self.decimal, ".")
        if not _PLAIN.fullmatch(plain):
            raise ValueError(f"{text!r} is no number")
        return Decimal(plain)


@dataclass(frozen=True, slots=True)
class Cell:
    """One number as it stands in the file; `column` and `line` are for messages."""

    column: str
    line: int
    text: str


def find_format(cells: Iterable[Cell], decimal: str | None, thousands: str | None) -> NumberFormat:
    """The format that all cells agree on; what is given is trusted.

    `12.5` and `0.125` show a decimal mark, `1.234.567` one of thousands, `1.234,5` both. `1.001` shows nothing by
    itself: it is a decimal if no cell of its column goes without the mark, else nobody can tell.
    Raises NumberFormatError.
    """
    if decimal is not None:
        return NumberFormat(decimal, thousands or "")
    seen = _Seen()
    for cell in cells:
        seen.add(cell)
    return seen.format(thousands)


class _Seen:
    """The first cell that shows each fact."""

    def __init__(self) -> None:
        self._decimal: dict[str, Cell] = {}
        self._thousands: dict[str, Cell] = {}
        self._either: dict[tuple[str, str], Cell] = {}
        self._without: set[str] = set()

    def add(self, cell: Cell) -> None:
        if not _NUMBER.fullmatch(cell.text):
            return  # said of the row, by `read`
        digits = re.split("[eE]", cell.text.lstrip("+-"))[0]
        marks = [mark for mark in digits if mark in ".,"]
        if not marks:
            self._without.add(cell.column)
        elif len(set(marks)) > 1:
            self._decimal.setdefault(marks[-1], cell)
            self._thousands.setdefault(marks[0], cell)
        elif len(marks) > 1:
            self._thousands.setdefault(marks[0], cell)
        else:
            head, _, tail = digits.partition(marks[0])
            if len(tail) == _GROUP and 1 <= len(head) <= _GROUP and not head.startswith("0"):
                self._either.setdefault((marks[0], cell.column), cell)
            else:
                self._decimal.setdefault(marks[0], cell)

    def format(self, thousands: str | None) -> NumberFormat:
        self._require_agreement()
        if thousands:
            return NumberFormat("," if thousands == "." else ".", thousands)
        decimal = next(iter(self._decimal), None) or self._decided_by_columns()
        grouping = next(iter(self._thousands), None) or next((mark for mark, _ in self._either if mark != decimal), "")
        return NumberFormat(decimal, "" if thousands == "" else grouping)

    def _require_agreement(self) -> None:
        shown = [*self._decimal.items()]
        if len(shown) > 1:
            one, other = shown[0][1], shown[1][1]
            text = f"line {one.line}: {one.text!r} and line {other.line}: {other.text!r}"
            raise NumberFormatError(f'{text} write decimals in two ways: say "decimal" in the mapping')
        for mark, cell in self._thousands.items():
            if mark in self._decimal:
                other = self._decimal[mark]
                text = f"line {cell.line}: {cell.text!r} and line {other.line}: {other.text!r}"
                raise NumberFormatError(f"{text} use {mark!r} for thousands and for decimals")

    def _decided_by_columns(self) -> str:
        for mark in self._thousands:
            return "," if mark == "." else "."
        for (_, column), cell in self._either.items():
            if column in self._without:
                text = f"line {cell.line}: {column}: {cell.text!r} can be read in two ways"
                raise NumberFormatError(f'{text}: say "decimal" (and "thousands") in the mapping')
        marks = {mark for mark, _ in self._either}
        if len(marks) > 1:
            first, second = list(self._either.values())[:2]
            text = f"line {first.line}: {first.text!r} and line {second.line}: {second.text!r}"
            raise NumberFormatError(f'{text} can be read in two ways: say "decimal" in the mapping')
        return next(iter(marks), ".")
