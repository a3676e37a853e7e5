"""One row of a table, whatever file it came from."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TableRow:
    """`line`: where the row ends in the file, 1 for the first. `cells` by the names of the header."""

    line: int
    cells: dict[str, str]
