"""Under which name this machine's own use of `metering-admin` stands in the audit."""

import os
import pwd


def login_name() -> str:
    """The user that runs this process, by the kernel's word; its number where the system knows no name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid-{os.getuid()}"
