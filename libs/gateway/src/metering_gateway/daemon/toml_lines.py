"""On which line of a TOML text a setting stands: the standard library's reader does not say."""

import re
from collections import Counter

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?")
_KEY = re.compile(r'\s*("[^"]*"|[\w-]+(?:\s*\.\s*[\w-]+)*)\s*=')

Place = tuple[str | int, ...]


def line_of(text: str, place: Place) -> int:
    """The line of `place`, such as ("source", 1, "points", 0, "type"), or of the nearest table around it; from 1."""
    lines = _lines(text)
    while place:
        if place in lines:
            return lines[place]
        place = place[:-1]
    return 1


def _lines(text: str) -> dict[Place, int]:
    found: dict[Place, int] = {}
    counts = Counter[Place]()
    table: Place = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.fullmatch(line):
            table = _table(header.group(2), counts, appends=header.group(1) == "[[")
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            names = tuple(name.strip().strip('"') for name in key.group(1).split("."))
            found.setdefault((*table, *names), number)
    return found


def _table(name: str, counts: Counter[Place], *, appends: bool) -> Place:
    """The place of a header: in an array of tables the last one begun so far, or a new one."""
    place: Place = ()
    parts = [part.strip().strip('"') for part in name.split(".")]
    for index, part in enumerate(parts):
        place = (*place, part)
        if appends and index == len(parts) - 1:
            counts[place] += 1
        if counts[place]:
            place = (*place, counts[place] - 1)
    return place
