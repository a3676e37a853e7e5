"""Every query of docs/data.md runs on both flavours and has the columns that the page shows."""

import re
from pathlib import Path

import pytest

from metering_writer.testing_flavours import Storage

PAGE = Path(__file__).parents[4] / "docs" / "data.md"
EXAMPLE = re.compile(r"```sql\n(.*?);?\n```\n```\n(.*?)\n", re.DOTALL)
EXAMPLES: list[tuple[str, str]] = EXAMPLE.findall(PAGE.read_text("utf-8"))


def test_every_query_of_the_page_has_its_result() -> None:
    assert len(EXAMPLES) == PAGE.read_text("utf-8").count("```sql") > 5


@pytest.mark.parametrize(("query", "header"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_query_runs_and_has_the_columns_shown(either: Storage, query: str, header: str) -> None:
    (first, *_) = either.rows(f"SELECT found.* FROM (SELECT 1) AS one LEFT JOIN ({query}) AS found ON true")
    assert list(first) == [column.strip() for column in header.split("|")]
