"""`python -m metering_jobs`: as the image of the jobs starts it."""

import sys

from metering_jobs.cli import main

sys.exit(main())
