"""Real servers for every test of the project (metering_local.testing), and an engine for those marked `docker`."""

pytest_plugins = ["metering_local.testing", "tests.images.fixtures", "tests.closing_line"]
