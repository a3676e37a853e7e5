"""The rules of validation, RV-01 to RV-17, by phase; importing this package fills the one table of them.

A rule looks only at its arguments and never raises. docs/rules.md is made from the table by `rules_page`, and
docs/how-to/add-a-validation-rule.md says how a rule is added.
"""

from metering_validator.domain.rule_table import TABLE
from metering_validator.domain.rules import device, quality, sensor, time, value

__all__ = ["TABLE", "device", "quality", "sensor", "time", "value"]
