"""Why a refresh is not answered with a pair."""

from metering_auth.domain.rotation import Step


class RefreshRefusedError(Exception):
    """The token does not refresh. `reason` is for metrics and logs; the sender is told no more than `expired`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    @property
    def expired(self) -> bool:
        """Only ever true of a token that auth has signed."""
        return self.reason == Step.EXPIRED
