"""Asks this container's admin port a path, /healthz or /readyz; exit status 0 for 200, 1 else with the answer's words.

The image's own health check, which has no curl to call; no measure passes here.
"""

import http.client
import os
import sys

prefix = os.environ["METERING_SERVICE"].split("-")[0].upper()
port = os.environ.get(f"{prefix}_ADMIN_PORT")
if port is None:
    sys.exit(0)  # a job has none
try:
    admin = http.client.HTTPConnection("127.0.0.1", int(port), timeout=12)
    admin.request("GET", sys.argv[1])
    answer = admin.getresponse()
    sys.exit(0 if answer.status == http.client.OK else answer.read().decode(errors="replace"))
except OSError as error:
    sys.exit(str(error))
