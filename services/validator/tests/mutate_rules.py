"""Changes each rule so that it never or always applies, and shows that a test finds it: `python …/mutate_rules.py`.

The check of a column is changed too: one that never says "maybe" makes the columnar way blind to its rule, one that
always says it makes every record slow. Each mutant lives in a forked process, in which the tests of the table of rules
run until the first fails. Ends with status 1 if a mutant survives.
"""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from metering_validator.domain.rule_table import Rule, asked_once, not_in_columns
from metering_validator.domain.rules import TABLE

TESTS = [str(Path(__file__).parent / "unit" / f"test_validator_{name}.py") for name in ("rule_table", "rules")]


def never(*_arguments: Any) -> bool:
    return False


def always(*_arguments: Any) -> bool:
    return True


class Mutant(NamedTuple):
    """One rule, of which one function is replaced."""

    rule: Rule[Any]
    part: str
    replacement: Any

    def __str__(self) -> str:
        return f"{self.rule.id} {self.part} {self.replacement.__name__}"


def mutants() -> Iterator[Mutant]:
    for rule in TABLE:
        parts = ["applies"]
        if rule.may_apply not in (asked_once, not_in_columns):
            parts.append("may_apply")
        if rule.concerns.__name__ != "everything":
            parts.append("concerns")
        yield from (Mutant(rule, part, replacement) for part in parts for replacement in (never, always))


def is_found(mutant: Mutant) -> bool:
    """Forks, so that every mutant starts from the same imported tests at no cost."""
    child = os.fork()
    if child == 0:
        object.__setattr__(mutant.rule, mutant.part, mutant.replacement)
        with contextlib.redirect_stdout(io.StringIO()):
            status = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *TESTS])
        os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(f"pytest ended with {status}")
    return status == pytest.ExitCode.TESTS_FAILED


def main() -> int:
    if pytest.main(["-q", *TESTS]) != pytest.ExitCode.OK:
        sys.stderr.write("the tests fail without a mutant\n")
        return 2
    survivors = 0
    for mutant in mutants():
        found = is_found(mutant)
        survivors += not found
        sys.stdout.write(f"{mutant!s:28} {'found' if found else 'SURVIVES'}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{survivors} mutants survive\n")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
