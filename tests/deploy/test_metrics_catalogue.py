"""docs/metrics.md is what the metrics.py files declare, and their names are what Prometheus' conventions ask for."""

import pytest

from deploy.observability import metrics_page
from deploy.observability.metrics_page import Declared, declared
from metering_local.checkout import ROOT

pytestmark = pytest.mark.fast

UNBOUNDED = {"device", "device_id", "gateway", "gateway_id", "batch", "batch_id", "number", "url", "raw_path", "token"}
OTHER_UNITS = ("_ms", "_milliseconds", "_minutes", "_hours", "_days", "_kb", "_mb", "_kib", "_mib", "_percent")


def all_metrics() -> list[Declared]:
    return [metric for _, _, declares in metrics_page.GROUPS for metric in declared(declares)]


def test_the_page_is_what_the_code_declares() -> None:
    assert (ROOT / "docs/metrics.md").read_text() == metrics_page.page(), "run make contracts"


def test_every_metrics_file_is_in_the_catalogue() -> None:
    files = {
        str(file.relative_to(ROOT))
        for place in ("libs", "services")
        for file in ROOT.glob(f"{place}/*/src/**/metrics.py")
    }
    assert {file.rsplit("/src/", 1)[0] for file in files} == {folder for _, folder, _ in metrics_page.GROUPS}


@pytest.mark.parametrize("metric", all_metrics(), ids=lambda metric: metric.name)
def test_a_name_tells_whose_it_is_in_what_unit_and_has_a_sentence(metric: Declared) -> None:
    assert metric.name.startswith("metering_")
    assert not metric.name.removesuffix("_total").endswith(OTHER_UNITS), "base units are seconds, bytes and ratios"
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.text.endswith(".")


@pytest.mark.parametrize("metric", all_metrics(), ids=lambda metric: metric.name)
def test_no_label_takes_unbounded_values(metric: Declared) -> None:
    assert not UNBOUNDED & set(metric.labels)


def test_no_two_services_declare_the_same_name() -> None:
    names = [metric.name for metric in all_metrics()]
    assert len(names) == len(set(names))
