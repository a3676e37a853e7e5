"""Makes the dashboards of the data path: `make dashboards` writes dashboards/*.json.

A dashboard is a list of panels in boards/*.yaml; the layout, the data sources and all that Grafana wants to know beside
the queries follow from here, so that no two panels differ by accident. A fast test holds the JSON equal.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

BOARDS = Path(__file__).parent / "boards"
FOLDER = Path(__file__).parent / "dashboards"
PROMETHEUS = {"type": "prometheus", "uid": "${prometheus}"}
SQL = {"type": "grafana-postgresql-datasource", "uid": "${sql}"}
COLUMNS = 24
HEIGHT = 8
SCHEMA_VERSION = 39
UNIT = "Unit"
"""The query that answers with a panel's unit."""

Kind = Literal["timeseries", "stat", "table", "barchart"]


@dataclass(frozen=True)
class Query:
    """One query of a panel; an SQL one returns a column `time` where the panel is a time series."""

    text: str
    legend: str
    sql: bool

    @classmethod
    def of(cls, entry: dict[str, str]) -> "Query":
        return cls(entry.get("prom") or entry["sql"], entry.get("legend", ""), "sql" in entry)


@dataclass(frozen=True)
class Panel:
    """`description` says how to read it, `unit` is Grafana's name of one, `limit` draws a line not to be crossed.

    Where the unit follows from what was chosen, `unit_sql` asks for it. A bar chart's query begins with a column of
    text or of times, without which Grafana draws nothing; `bars` draws a time series so.
    """

    title: str
    description: str
    queries: Sequence[Query]
    unit: str = "none"
    unit_sql: str | None = None
    bars: bool = False
    kind: Kind = "timeseries"
    width: int = 8
    limit: float | None = None

    @classmethod
    def of(cls, entry: dict[str, Any]) -> "Panel":
        return cls(**entry | {"queries": [Query.of(query) for query in entry["queries"]]})


@dataclass(frozen=True)
class Variable:
    """A choice above the panels, asked from SQL."""

    name: str
    label: str
    query: str


@dataclass(frozen=True)
class Dashboard:
    """`uid` never changes: links and bookmarks hold it."""

    uid: str
    title: str
    description: str
    since: str
    tags: Sequence[str]
    panels: Sequence[Panel]
    variables: Sequence[Variable]

    @classmethod
    def of(cls, entry: dict[str, Any]) -> "Dashboard":
        variables = [Variable(**variable) for variable in entry.get("variables", ())]
        return cls(**entry | {"panels": [Panel.of(panel) for panel in entry["panels"]], "variables": variables})


def boards() -> list[Dashboard]:
    """What stands in boards/."""
    return [Dashboard.of(yaml.safe_load(file.read_text())) for file in sorted(BOARDS.glob("*.yaml"))]


def document(dashboard: Dashboard) -> dict[str, Any]:
    """What Grafana reads."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": list(dashboard.tags),
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": dashboard.since, "to": "now"},
        "templating": {
            "list": [*_sources(dashboard.panels, dashboard.variables), *map(_variable, dashboard.variables)]
        },
        "panels": _placed(dashboard.panels),
    }


def write() -> None:
    """All files again; what is no dashboard any more goes."""
    FOLDER.mkdir(exist_ok=True)
    for file in FOLDER.glob("*.json"):
        file.unlink()
    for dashboard in boards():
        (FOLDER / f"{dashboard.uid}.json").write_text(text(dashboard))


def text(dashboard: Dashboard) -> str:
    return json.dumps(document(dashboard), indent=2, ensure_ascii=False) + "\n"


def _sources(panels: Sequence[Panel], variables: Sequence[Variable]) -> list[dict[str, Any]]:
    used = {query.sql for panel in panels for query in panel.queries} | ({True} if variables else set())
    kinds = [("prometheus", "Prometheus", PROMETHEUS, False), ("sql", "Storage", SQL, True)]
    return [
        {"name": name, "label": label, "type": "datasource", "query": source["type"], "hide": 0}
        for name, label, source, is_sql in kinds
        if is_sql in used
    ]


def _variable(variable: Variable) -> dict[str, Any]:
    return {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": SQL,
        "query": variable.query,
        "refresh": 2,
        "sort": 1,
    }


def _placed(panels: Sequence[Panel]) -> list[dict[str, Any]]:
    """Left to right, line by line."""
    placed, x, y = [], 0, 0
    for number, panel in enumerate(panels, start=1):
        if x + panel.width > COLUMNS:
            x, y = 0, y + HEIGHT
        placed.append(_panel(panel, number, {"x": x, "y": y, "w": panel.width, "h": HEIGHT}))
        x += panel.width
    return placed


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit}
    if panel.bars:
        defaults["custom"] = {"drawStyle": "bars", "fillOpacity": 60, "lineWidth": 1}
    if panel.limit is not None:
        steps = [{"color": "green", "value": None}, {"color": "red", "value": panel.limit}]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
        defaults["custom"] = {"thresholdsStyle": {"mode": "line"}} if panel.kind == "timeseries" else {}
    document = {
        "id": number,
        "title": panel.title,
        "description": panel.description,
        "type": panel.kind,
        "datasource": SQL if panel.queries[0].sql else PROMETHEUS,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {},
        "targets": [_target(query, chr(ord("A") + index), panel.kind) for index, query in enumerate(panel.queries)],
    }
    return document if panel.unit_sql is None else _with_unit(document, panel.unit_sql)


def _with_unit(document: dict[str, Any], unit_sql: str) -> dict[str, Any]:
    """Grafana's *config from query results*: the answer's column `unit` becomes the unit of all numbers."""
    target = _target(Query(unit_sql, "", sql=True), UNIT, "table")
    options = {"configRefId": UNIT, "mappings": [{"fieldName": "unit", "handlerKey": "unit"}]}
    return document | {
        "targets": [*document["targets"], target],
        "transformations": [{"id": "configFromData", "options": options}],
    }


def _target(query: Query, letter: str, kind: Kind) -> dict[str, Any]:
    if query.sql:
        form = "time_series" if kind == "timeseries" else "table"
        return {"refId": letter, "datasource": SQL, "rawQuery": True, "rawSql": query.text, "format": form}
    instant = kind != "timeseries"
    return {
        "refId": letter,
        "datasource": PROMETHEUS,
        "expr": query.text,
        "legendFormat": query.legend or "__auto",
        "instant": instant,
        "range": not instant,
    }


if __name__ == "__main__":
    write()
