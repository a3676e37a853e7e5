"""The dashboards are what boards/ says, complete in every panel, and ask only for metrics that exist."""

import json
import re
from collections import Counter
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import barchart, common
from grafana_foundation_sdk.models import dashboard as grafana
from grafana_foundation_sdk.models import units as units_of_grafana

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


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_grafana_knows_every_field_of_a_dashboard(board: Dashboard) -> None:
    """Read and written again by Grafana's own types, nothing is lost and nothing becomes something else."""
    document = json.loads((FOLDER / f"{board.uid}.json").read_text())
    again = json.loads(JSONEncoder().encode(grafana.Dashboard.from_json(document)))
    assert lost(document, again) == []
    for panel in document["panels"]:
        assert panel["type"] in {"timeseries", "stat", "table", "barchart"}
        custom = panel["fieldConfig"]["defaults"].get("custom", {})
        kind: Any = {"timeseries": common.GraphFieldConfig, "barchart": barchart.FieldConfig}.get(panel["type"])
        if kind is not None:
            assert lost(custom, json.loads(JSONEncoder().encode(kind.from_json(custom)))) == []
        assert panel["fieldConfig"]["defaults"]["unit"] in vars(units_of_grafana).values()


def lost(before: Any, after: Any, path: str = "") -> list[str]:
    """Where the second differs from the first, apart from what it has more."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            fault
            for name, value in before.items()
            for fault in (lost(value, after[name], f"{path}/{name}") if name in after else [f"{path}/{name}"])
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = zip(before, after, strict=True)
        return [fault for place, pair in enumerate(pairs) for fault in lost(*pair, f"{path}/{place}")]
    return [] if before == after else [path]


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=name_of)
def test_a_unit_that_follows_from_the_choice_is_asked_for(board: Dashboard, panel: Panel) -> None:
    """By Grafana's *config from query results*, whose rule names the query and the column that it takes."""
    document = json.loads((FOLDER / f"{board.uid}.json").read_text())
    (drawn,) = (one for one in document["panels"] if one["title"] == panel.title)
    if panel.unit_sql is None:
        assert "transformations" not in drawn
        return
    (rule,) = drawn["transformations"]
    (asked,) = (target for target in drawn["targets"] if target["refId"] == rule["options"]["configRefId"])
    assert (rule["id"], asked["rawSql"], asked["format"]) == ("configFromData", panel.unit_sql, "table")
    assert rule["options"]["mappings"] == [{"fieldName": "unit", "handlerKey": "unit"}]
    assert panel.unit_sql.startswith("SELECT unit ")


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=name_of)
def test_what_chooses_a_device_chooses_it_by_id(board: Dashboard, panel: Panel) -> None:
    """Numbers and names are unique per provider only."""
    for query in panel.queries:
        assert not query.sql or not re.search(r"(number|name)\s*(=|IN)", query.text), (board.uid, panel.title)


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
        assert set(re.findall(r"\$(\w+)", panel.unit_sql or "")) <= offered, (board.uid, panel.title)


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
