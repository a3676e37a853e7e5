"""SQL kept in .sql files, each query with a name and a sentence."""

import re
from collections.abc import Iterator, Mapping
from importlib.resources import files


class Queries(Mapping[str, str]):
    """Named queries, as attributes or by key."""

    def __init__(self, queries: dict[str, str]) -> None:
        self._queries = queries

    def __getattr__(self, name: str) -> str:
        try:
            return self._queries[name]
        except KeyError:
            raise AttributeError(f"no query is named {name}") from None

    def __getitem__(self, name: str) -> str:
        return self._queries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._queries)

    def __len__(self) -> int:
        return len(self._queries)


_QUERY = re.compile(r"^-- name: *(\w+) *\n((?:--[^\n]*\n)*)(.*?)(?=^-- name:|\Z)", re.MULTILINE | re.DOTALL)


def load_queries(package: str, file: str = "queries.sql") -> Queries:
    """The queries of a package's file: each `-- name: x`, then a sentence as a comment, then the statement.

    Raises ValueError for a query without a sentence, without a statement, or named twice.
    """
    return parse_queries((files(package) / file).read_text("utf-8"))


def parse_queries(text: str) -> Queries:
    """As `load_queries`, from the text."""
    queries: dict[str, str] = {}
    for name, sentence, statement in _QUERY.findall(text):
        if not sentence.strip("- \n") or not statement.strip():
            raise ValueError(f"query {name} needs a sentence and a statement")
        if name in queries:
            raise ValueError(f"two queries are named {name}")
        queries[name] = statement.strip().removesuffix(";")
    return Queries(queries)
