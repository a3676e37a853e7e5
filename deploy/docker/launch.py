"""The first process of a service's container: becomes the service whose image this is; measures pass only after it.

Linux ignores a signal to process 1 that it has no handler for. Until the service has set its own, this one ends the
process, so that a container stopped in its first second is not waited for in vain. It is set before anything is
imported that must be read from files (Python is started with -S and `signal` is not imported for it): 13 ms after the
process began, 47 ms otherwise.
"""

import _signal
import os

SIGTERM = 15
_signal.signal(SIGTERM, lambda *_: os._exit(0))

import runpy  # noqa: E402  see above
import site  # noqa: E402

site.main()
runpy.run_module("metering_" + os.environ["METERING_SERVICE"].replace("-", "_"), run_name="__main__", alter_sys=True)
