"""What can be wrong with the machine under the local platform, each told in one line."""


class EnvironmentProblemError(Exception):
    """The machine, not the platform, is in the way; the message is one line that says what to do."""
