"""Every query of every panel returns data on a real run: a real Prometheus that scraped it, and its database."""

import re
from collections.abc import Iterator

import pytest

from deploy.observability import dashboards
from deploy.observability.dashboards import Query
from tests.deploy.observed import Observed, observed_platform
from tests.deploy.test_alerts import rules

pytestmark = pytest.mark.promtool

BOARDS = dashboards.boards()
QUERIES = [
    pytest.param(query, id=f"{board.uid}: {panel.title} {number}")
    for board in BOARDS
    for panel in board.panels
    for number, query in enumerate(panel.queries, start=1)
]
VARIABLES = [pytest.param(one.query, id=f"{board.uid}: {one.name}") for board in BOARDS for one in board.variables]
QUIET = {"MeteringServiceDown", "MeteringAccountOpen", "MeteringSeriesBroken", "MeteringStageStandsStill"}


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    with observed_platform(tmp_path_factory.mktemp("observed")) as platform:
        yield platform


@pytest.mark.parametrize("query", QUERIES)
def test_a_panels_query_returns_data(observed: Observed, query: Query) -> None:
    if not query.sql:
        assert observed.ask(query.text)
        return
    rows = observed.select(filled_in(query.text, observed))
    assert rows
    assert any(value is not None for row in rows for value in row)


@pytest.mark.parametrize("query", VARIABLES)
def test_a_variable_offers_choices(observed: Observed, query: str) -> None:
    assert observed.select(query)


@pytest.mark.parametrize("name", sorted(QUIET))
def test_nothing_rings_that_must_not_on_a_healthy_platform(observed: Observed, name: str) -> None:
    assert name in {rule["alert"] for rule in rules("alert")}
    assert not observed.ask(f'ALERTS{{alertname="{name}",alertstate="firing"}}')


def filled_in(text: str, observed: Observed) -> str:
    """As Grafana fills in its macros and variables."""
    [(gateway,)] = observed.select(
        "SELECT gateway_id FROM ingest_batch WHERE refused > 0 AND gateway_id IS NOT NULL LIMIT 1"
    )
    [(device,)] = observed.select("SELECT id FROM device WHERE number = 'house'")
    [(register,)] = observed.select("SELECT id FROM sensor WHERE name = 'Energía activa acumulada'")
    [(sensor,)] = observed.select("SELECT id FROM sensor WHERE name = 'Voltaje A-N'")
    chosen = {
        "$device": str(device),
        "$register": str(register),
        "$sensor": str(sensor),
        "$gateway": str(gateway),
        "$__timeFrom()": "'2026-01-01T00:00:00Z'",
        "$__timeTo()": "'2100-01-01T00:00:00Z'",
    }
    for name, value in chosen.items():
        text = text.replace(name, value)
    return re.sub(r"\$__timeFilter\(([\w.]+)\)", r"\1 BETWEEN '2026-01-01T00:00:00Z' AND '2100-01-01T00:00:00Z'", text)
