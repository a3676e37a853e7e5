"""What can go wrong between the poller and the portal: each names the controller, the call and what came back."""

from typing import Literal

Call = Literal["masterData", "readings"]


class PortalError(Exception):
    """Base of all; `str` holds no secret: no URL, and the answer's text only after redaction."""

    kind = "portal"

    def __init__(self, serial: str, call: Call, what: str) -> None:
        super().__init__(f"controller {serial}, {call}: {what}")
        self.serial, self.call, self.what = serial, call, what


class PortalUnreachableError(PortalError):
    """No usable answer came: connection refused or broken, time-out, 5xx, a firewall's page. Worth another try."""

    kind = "unreachable"

    def __init__(self, serial: str, call: Call, what: str, *, answered: bool = False) -> None:
        super().__init__(serial, call, what)
        self.answered = answered
        """Somebody answered: the portal is not away, this request fails."""


class PortalBusyError(PortalError):
    """HTTP 429: the portal asks to wait, `retry_after_seconds` if it says how long."""

    kind = "busy"

    def __init__(self, serial: str, call: Call, what: str, retry_after_seconds: float | None) -> None:
        super().__init__(serial, call, what)
        self.retry_after_seconds = retry_after_seconds


class AccessDeniedError(PortalError):
    """Server code, serial and access code do not belong together (any more). No retry mends that."""

    kind = "denied"


class PortalRefusedError(PortalError):
    """The portal refuses the request with a status that means nothing else to us, kept verbatim."""

    kind = "refused"


class PortalMovedError(PortalRefusedError):
    """The portal says gone or moved: its API's version or address has changed, and the dialect must follow."""

    kind = "moved"


class AnswerUnreadableError(PortalError):
    """An answer came that the dialect cannot read: not JSON, another shape, or too large."""

    kind = "unreadable"
