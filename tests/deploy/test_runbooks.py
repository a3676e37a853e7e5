"""What a runbook tells to type exists: commands with their options, metrics, settings, and the logs' events."""

import argparse
import re
from collections.abc import Callable

import pytest

from deploy.observability import metrics_page
from metering_auth import cli as auth_cli
from metering_common.kafka import topics_cli
from metering_ecl_poller import cli as ecl_cli
from metering_local.checkout import ROOT
from metering_writer import cli as writer_cli

pytestmark = pytest.mark.fast

TOOLS: dict[str, Callable[[], argparse.ArgumentParser]] = {
    "metering-admin": auth_cli._parser,
    "metering-ecl": ecl_cli._parser,
    "metering-topics": topics_cli._parser,
    "metering-writer": writer_cli.parser,
}
SPAN = re.compile(r"`([^`]+)`")
EVENT = re.compile(r"[a-z]+\.[a-z_]+")
SETTING = re.compile(r"(?:INGEST|WRITER|AUTH|ECL|PROBER|VALIDATOR)_[A-Z_]+")
METRIC = re.compile(r"metering_(?!prober/src)\w+(?=$|[{\[ )])")
RUNBOOKS = sorted((ROOT / "docs/runbooks").glob("*.md"))
SPANS = sorted({" ".join(span.split()) for file in RUNBOOKS for span in SPAN.findall(file.read_text())})
SOURCES = "".join(file.read_text() for place in ("services", "libs") for file in ROOT.glob(f"{place}/*/src/**/*.py"))


@pytest.mark.parametrize("command", [span for span in SPANS if span.split()[0] in TOOLS])
def test_a_command_exists_with_its_options(command: str) -> None:
    tool, *words = command.split()
    parser = TOOLS[tool]()
    while words and (choices := subcommands(parser)):
        assert words[0] in choices, f"{words[0]} is not one of {sorted(choices)}"
        parser = choices[words.pop(0)]
    options = {option for action in parser._actions for option in action.option_strings}
    assert {word for word in words if word.startswith("--")} <= options


@pytest.mark.parametrize("event", [span for span in SPANS if EVENT.fullmatch(span)])
def test_an_event_is_logged(event: str) -> None:
    assert f'"{event}"' in SOURCES or (event.startswith("probe.") and f'"{event.removeprefix("probe.")}"' in SOURCES)


@pytest.mark.parametrize("setting", sorted({name for span in SPANS for name in SETTING.findall(span)}))
def test_a_setting_exists(setting: str) -> None:
    prefix, _, name = setting.partition("_")
    assert f'env_prefix="{prefix}_"' in SOURCES
    assert re.search(rf"^    {name.lower()}: ", SOURCES, re.MULTILINE)


@pytest.mark.parametrize("metric", sorted({name for span in SPANS for name in METRIC.findall(span)}))
def test_a_metric_is_declared(metric: str) -> None:
    names = metrics_page.query_names()
    assert metric in names or f"{metric}_count" in names


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(actions[0].choices) if actions else {}
