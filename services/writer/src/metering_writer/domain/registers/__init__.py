"""What a register counted: the decisions of docs/consumption.md, pure."""

from metering_writer.domain.registers.classify import RegisterCourse, adjusted_at, classify_register
from metering_writer.domain.registers.model import Event, EventKind, Exchange, Readings, RegisterRules

__all__ = [
    "Event",
    "EventKind",
    "Exchange",
    "Readings",
    "RegisterCourse",
    "RegisterRules",
    "adjusted_at",
    "classify_register",
]
