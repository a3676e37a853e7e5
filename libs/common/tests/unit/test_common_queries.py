"""SQL stands in .sql files: each query with a name and a sentence."""

import pytest

from metering_common.postgres.queries import parse_queries

pytestmark = pytest.mark.fast

TEXT = """-- Queries of a test.

-- name: first
-- What is there,
-- on two lines.
SELECT 1;

-- name: second
-- A comment inside the statement stays.
SELECT a
-- of b
FROM b
WHERE a = $1;
"""


def test_queries_are_found_by_name_without_their_sentences() -> None:
    queries = parse_queries(TEXT)
    assert dict(queries) == {"first": "SELECT 1", "second": "SELECT a\n-- of b\nFROM b\nWHERE a = $1"}
    assert queries.first == queries["first"]
    assert len(queries) == 2


def test_a_name_that_is_not_there_is_told() -> None:
    with pytest.raises(AttributeError, match="no query is named third"):
        _ = parse_queries(TEXT).third


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("-- name: a\nSELECT 1;", "sentence"),
        ("-- name: a\n-- Sentence.\n", "statement"),
        ("-- name: a\n-- One.\nSELECT 1;\n-- name: a\n-- Two.\nSELECT 2;", "two queries"),
    ],
)
def test_a_file_that_breaks_the_rule_is_refused(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        parse_queries(text)
