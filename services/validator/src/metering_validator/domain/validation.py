"""The validator's one question, answered without looking anywhere else: what becomes of this record?"""

from metering_validator.domain.columns import validate_by_columns
from metering_validator.domain.context import Context
from metering_validator.domain.measures import read_element
from metering_validator.domain.one_by_one import validate_one_by_one
from metering_validator.domain.result import Result


def validate(value: bytes | None, context: Context) -> Result:
    """The result on one device's element, the same for the same arguments to the byte.

    Raises `metering_validator.domain.measures.UnreadableElementError` for what no release can read, and nothing else.
    """
    quick = validate_by_columns(value, context) if value is not None else None
    return quick if quick is not None else validate_one_by_one(read_element(value), context)
