"""The dashboards are what boards/ says, complete in every panel, and ask only for metrics that exist."""

import json
import re
from collections import Counter
from typing import Any

import pytest
import yaml

from deploy.observability import dashboards, metrics_page
from deploy.observability.dashboards import FOLDER, Dashboard, Panel
from metering_local.checkout import ROOT

pytestmark = pytest.mark.fast

UIDS = {
    "metering-overview",
    "metering-way",
    "metering-ingest-api",
    "metering-validator",
    "metering-writer",
    "metering-auth",
    "metering-poller",
    "metering-gateway",
    "metering-consumption",
    "metering-completeness",
}
"""Bookmarks hold them: none goes, and none changes."""
NAME = re.compile(r"\b(?:metering_\w+|process_\w+|kubelet_\w+|up|ALERTS)\b(?=[{\[\s)]|$)")
RECORDED = re.compile(r"\bmetering:[\w:]+")
BOARDS = dashboards.boards()
PANELS = [(board, panel) for board in BOARDS for panel in board.panels]


def name_of(value: Dashboard | Panel) -> str:
    return value.title


def test_the_files_are_what_the_boards_say() -> None:
    assert {file.name: file.read_text() for file in FOLDER.glob("*.json")} == {
        f"{board.uid}.json": dashboards.text(board) for board in BOARDS
    }, "run make dashboards"


def test_the_uids_stay() -> None:
    assert sorted(board.uid for board in BOARDS) == sorted(UIDS)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_a_dashboard_is_complete_and_its_panels_lie_side_by_side(board: Dashboard) -> None:
    document = json.loads((FOLDER / f"{board.uid}.json").read_text())
    assert document["description"].endswith(".")
    assert [variable["name"] for variable in document["templating"]["list"] if variable["type"] == "datasource"]
    cells: Counter[tuple[int, int]] = Counter()
    for panel in document["panels"]:
        place = panel["gridPos"]
        cells.update(
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        )
    assert set(cells.values()) == {1}
    assert max(x for x, _ in cells) < dashboards.COLUMNS
    assert len({panel["id"] for panel in document["panels"]}) == len(document["panels"])


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_every_panel_says_how_to_read_it_in_what_unit_and_where_it_comes_from(board: Dashboard) -> None:
    document = json.loads((FOLDER / f"{board.uid}.json").read_text())
    sources = {"${" + entry["name"] + "}" for entry in document["templating"]["list"] if entry["type"] == "datasource"}
    for panel in document["panels"]:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert {panel["datasource"]["uid"]} | {target["datasource"]["uid"] for target in panel["targets"]} <= sources
        assert panel["targets"]


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=name_of)
def test_a_query_names_only_metrics_and_records_that_exist(board: Dashboard, panel: Panel) -> None:
    for query in panel.queries:
        if query.sql:
            continue
        names, recorded = set(NAME.findall(query.text)), set(RECORDED.findall(query.text))
        assert names <= metrics_page.query_names(), board.uid
        assert recorded <= recording_rules(), board.uid
        assert names | recorded


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=name_of)
def test_sql_is_filtered_by_time_or_by_what_was_chosen(board: Dashboard, panel: Panel) -> None:
    """Or it reads a table that stays small."""
    small = ("FROM consumer_offset", "FROM storage_retention", "FROM device_status")
    for query in panel.queries:
        if query.sql and not any(table in query.text for table in small):
            assert "$__time" in query.text or "$gateway" in query.text, board.uid


def test_every_variable_in_a_query_is_offered() -> None:
    for board, panel in PANELS:
        offered = {variable.name for variable in board.variables}
        for query in panel.queries:
            used = set(re.findall(r"\$\{?(\w+)", query.text)) - {"__timeFilter", "__timeFrom", "__timeTo"}
            assert used <= offered, (board.uid, panel.title)


def test_provisioning_names_the_sources_and_the_folder() -> None:
    folder = ROOT / "deploy/observability/grafana/provisioning"
    [sources] = folder.glob("datasources/*.yaml")
    kinds: dict[str, Any] = {one["uid"]: one["type"] for one in yaml.safe_load(sources.read_text())["datasources"]}
    assert kinds == {"metering-prometheus": "prometheus", "metering-sql": dashboards.SQL["type"]}
    [provider] = folder.glob("dashboards/*.yaml")
    assert yaml.safe_load(provider.read_text())["providers"][0]["options"]["path"] == "/etc/grafana/metering-dashboards"


def recording_rules() -> set[str]:
    text = "".join(file.read_text() for file in ROOT.glob("deploy/observability/prometheus/rules/*.yaml"))
    return set(re.findall(r"record: (\S+)", text))
