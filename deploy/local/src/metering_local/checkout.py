"""Where the local platform finds the files of its checkout, none of which any measure passes through."""

import sys
from pathlib import Path


def _root() -> Path:
    here = Path(__file__).resolve()
    for folder in here.parents:
        if (folder / "contracts" / "topics").is_dir():
            return folder
    raise RuntimeError(f"{here} lies in no checkout of the platform; install it with `make`, from its clone")


ROOT = _root()
"""The folder of the checkout."""

DATA = ROOT / "data"
DICTIONARY = DATA / "sensor_dictionary.json"

TOOLS = ROOT / ".tools"
"""What is fetched once per checkout, and needed offline afterwards."""

PROGRAMS = Path(sys.executable).parent
"""Where the virtual environment keeps its commands (caddy, dbmate, metering-topics, …)."""
