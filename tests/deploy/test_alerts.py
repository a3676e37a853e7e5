"""Each alert has a runbook, a test that fires and one that stays quiet, and names only metrics that exist."""

import functools
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.observability import metrics_page
from metering_common.contract.topics import RAW, VALIDATED, load_contracts
from metering_local.checkout import ROOT

PROMETHEUS = ROOT / "deploy/observability/prometheus"
RUNBOOKS = ROOT / "docs/runbooks"
HEADINGS = ["What it means", "What users see", "How to find the cause", "How to mend it", "What not to do"]
SEVERITIES = {"page", "ticket"}
fast = pytest.mark.fast
NAME = re.compile(r"\b(?:metering_\w+|process_\w+|kubelet_\w+|up)\b(?=[{\[\s)]|$)")
RECORDED = re.compile(r"\bmetering:[\w:]+")


@functools.cache
def rules(kind: str) -> list[dict[str, Any]]:
    files = sorted(PROMETHEUS.glob("rules/*.yaml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


def alert_names() -> list[str]:
    return [str(rule["alert"]) for rule in rules("alert")]


@functools.cache
def expectations() -> dict[str, bool]:
    """`MeteringX fires` and `MeteringX stays quiet`, and whether the test expects an alert."""
    tests = [test for file in PROMETHEUS.glob("tests/*.yaml") for test in yaml.safe_load(file.read_text())["tests"]]
    return {test["name"]: bool(test["promql_expr_test"][0]["exp_samples"]) for test in tests}


@fast
def test_no_alert_lacks_a_runbook_and_no_runbook_its_alert() -> None:
    assert {file.stem for file in RUNBOOKS.glob("Metering*.md")} == set(alert_names())


@fast
@pytest.mark.parametrize("rule", rules("alert"), ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_what_is_wrong_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in SEVERITIES
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"


@fast
@pytest.mark.parametrize("name", alert_names())
def test_a_runbook_answers_the_five_questions(name: str) -> None:
    text = (RUNBOOKS / f"{name}.md").read_text()
    parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    assert parts[0].strip() == f"# {name}"
    assert parts[1::2] == HEADINGS
    assert all(len(answer.split()) > 5 or answer.strip().startswith("Nothing") for answer in parts[2::2])


@fast
def test_runbooks_name_only_alerts_that_exist() -> None:
    named = {word for file in RUNBOOKS.glob("*.md") for word in re.findall(r"\bMetering[A-Z]\w+", file.read_text())}
    assert named == set(alert_names())


@fast
@pytest.mark.parametrize("name", alert_names())
def test_an_alert_was_seen_to_fire_and_to_stay_quiet(name: str) -> None:
    assert expectations()[f"{name} fires"] is True
    assert expectations()[f"{name} stays quiet"] is False


@fast
def test_the_tests_are_of_alerts_that_exist() -> None:
    assert len(expectations()) == 2 * len(alert_names()) == 2 * len(set(alert_names()))


@fast
@pytest.mark.parametrize("rule", rules("expr"), ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_names_only_metrics_that_are_declared(rule: dict[str, Any]) -> None:
    names = set(NAME.findall(rule["expr"]))
    assert names <= metrics_page.query_names()
    recorded = set(RECORDED.findall(rule["expr"]))
    assert recorded <= {other["record"] for other in rules("record")}
    assert names | recorded


@fast
def test_the_limits_of_age_follow_the_contracts() -> None:
    [rule] = [rule for rule in rules("alert") if rule["alert"] == "MeteringRecordsNearRetention"]
    contracts = load_contracts()
    for topic in (VALIDATED, RAW):
        days = contracts[topic].retention_days
        assert days is not None
        assert f"0.25 * {days * 86_400}" in rule["expr"]


@pytest.mark.promtool
def test_promtool_takes_the_rules_and_the_configuration() -> None:
    promtool("check", "rules", *sorted(PROMETHEUS.glob("rules/*.yaml")))
    promtool("check", "config", PROMETHEUS / "prometheus.yml")


@pytest.mark.promtool
@pytest.mark.parametrize("file", sorted(PROMETHEUS.glob("tests/*.yaml")), ids=lambda file: file.stem)
def test_every_alert_fires_and_stays_quiet_as_it_should(file: Path) -> None:
    promtool("test", "rules", file)


def promtool(*arguments: object) -> None:
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
