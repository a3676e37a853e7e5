"""What is committed is what helm renders: a change of a template is reviewed by its effect."""

import pytest

from tests.deploy.chart import render
from tests.deploy.manifests import CASES, RENDERED

pytestmark = pytest.mark.kubernetes


@pytest.mark.parametrize("case", CASES)
def test_the_committed_manifests_are_those_of_the_templates(case: str) -> None:
    committed = {file.name: file.read_text() for file in (RENDERED / case).iterdir()}
    assert committed == render(case)
