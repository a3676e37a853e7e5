"""The command line `metering-gateway` (extra `cli`)."""

import sys


def main() -> None:
    """Runs the command line, or says what to install for it."""
    try:
        from metering_gateway.cli.app import main as run  # noqa: PLC0415  the extra may be missing
    except ModuleNotFoundError as error:
        if error.name not in {"cyclopts", "rich"}:
            raise
        print("metering-gateway: the command line needs: pip install 'metering-gateway[cli]'", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    sys.exit(run())
