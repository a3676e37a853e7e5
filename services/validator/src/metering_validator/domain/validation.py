"""The validator's one question, answered without looking anywhere else: what becomes of this record?"""

from metering_validator.domain.cells import validate_by_cells
from metering_validator.domain.columns import validate_by_columns
from metering_validator.domain.context import Context
from metering_validator.domain.received import read_element
from metering_validator.domain.result import Result


def validate(value: bytes | None, context: Context) -> Result:
    """Returns the result on one device's element, the same for the same arguments to the byte.

    Raises `metering_validator.domain.received.UnreadableElementError` for what no release can read, and nothing else.
    """
    quick = validate_by_columns(value, context) if value is not None else None
    return quick if quick is not None else validate_by_cells(read_element(value), context)
