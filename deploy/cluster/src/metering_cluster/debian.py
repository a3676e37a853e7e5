"""Debian packages that a test needs beside the Python ones."""

import os
import shutil
import subprocess


def have(command: str, package: str) -> None:
    """Installs Debian's package if the command is missing; needs root and Debian."""
    if shutil.which(command):
        return
    quiet = ["-qq", "--no-install-recommends"]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for step in (["update", "-qq"], ["install", "-y", *quiet, package]):
        subprocess.run(["apt-get", *step], check=True, capture_output=True, env=environment)
