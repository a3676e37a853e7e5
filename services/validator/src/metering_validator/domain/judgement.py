"""The validator's one question, answered without looking anywhere else: what becomes of this record?"""

from metering_common.measures import read_element
from metering_validator.domain.columns import judge_by_columns
from metering_validator.domain.context import Context
from metering_validator.domain.one_by_one import judge_one_by_one
from metering_validator.domain.verdict import Verdict


def judge(value: bytes | None, context: Context) -> Verdict:
    """The verdict on one device's element, the same for the same arguments to the byte.

    Raises `metering_common.measures.UnreadableElementError` for what no release can read, and nothing else.
    """
    quick = judge_by_columns(value, context) if value is not None else None
    return quick if quick is not None else judge_one_by_one(read_element(value), context)
