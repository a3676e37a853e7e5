"""The first process of a service's container: becomes the service whose image this is; measures pass only after it.

Linux ignores a signal to process 1 that it has no handler for. Until the service has set its own, this one ends the
process, so that a container stopped in its first second is not waited for in vain.
"""

import os
import runpy
import signal

signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
runpy.run_module("metering_" + os.environ["METERING_SERVICE"].replace("-", "_"), run_name="__main__", alter_sys=True)
