"""Prints docs/rules.md, made from the rules themselves: `python -m metering_validator.rules_page > docs/rules.md`."""

import sys
from typing import Any

from metering_validator.domain.examples import Example
from metering_validator.domain.rule_table import Effect, Rule
from metering_validator.domain.rules import TABLE

INTRODUCTION = """\
# The rules of validation

<!-- Made by `python -m metering_validator.rules_page > docs/rules.md`; a test holds that it is up to date. -->

Each value of a measurements record is held against these rules by the validator. A rule's ID stands in the metric
`metering_validator_findings_total{rule="RV-…"}`, in the result of the batch, in the API's `warnings` and with every
stored refusal; ID and code never change their meaning. *Received-at* is the moment at which the platform took the
request in: validation never looks at the present time, so that the same record is always validated alike.

What becomes of a value:

- **refused**: it is not stored. It is counted once, however many rules refuse it, and reported under each of them.
- **refused, only counted**: the same for a whole measure whose values are not looked at.
- **not taken**: nothing is wrong with it, but the device's list of sensors does not take it. Reported once per sensor.
- **kept**: it is stored with the quality that the rule names, and there is a warning. Of several qualities the highest
  is stored: 0 good, 1 implausible, 2 clock doubtful, 3 sensor fault (aggregates leave 3 out).
- **repeated**: an equal value for the same sensor and timestamp stands later in the same record. No rule; counted.

Always: values = accepted + refused + not taken + repeated.

In which order:

1. A device that is unknown or inactive refuses all values of the record; what else is wrong with them is reported too.
2. A known sensor that is not on the device's list is not taken, and its values are not looked at further.
3. The rules about name, value and time collect all that is wrong with a value.
4. Among the values that are left, the last one for a sensor and timestamp counts.
5. What is kept gets its quality.

Each rule below has examples; without a word on it an example is one value of device 29 at received-at. A test runs all.
"""


def page() -> str:
    """Returns the whole page."""
    return "\n".join([INTRODUCTION, _table(), *map(_section, TABLE)])


def _table() -> str:
    lines = ["| ID | code | asked about | the value is |", "|---|---|---|---|"]
    lines += [f"| [{rule.id}](#{rule.id.lower()}) | `{rule.code}` | {rule.phase} | {_effect(rule)} |" for rule in TABLE]
    return "\n".join(lines) + "\n"


def _section(rule: Rule[Any]) -> str:
    source = " ".join(line.strip() for line in rule.source.splitlines())
    return (
        f"## {rule.id}\n\n`{rule.code}`, {_effect(rule)}.\n\n"
        f"- English: {rule.english}\n- Español: {rule.spanish}\n- Source: {source}\n"
        f"- Applies to: {_examples(rule.applies_to)}.\n- Passes: {_examples(rule.passes)}.\n"
    )


def _examples(examples: tuple[Example, ...]) -> str:
    return "; ".join(example.shown() for example in examples)


def _effect(rule: Rule[Any]) -> str:
    return f"{rule.effect}, quality {int(rule.quality)}" if rule.effect is Effect.KEPT else rule.effect.value


def main() -> None:
    """Prints the page."""
    sys.stdout.write(page())


if __name__ == "__main__":
    main()
