"""Real servers for every test of the project: see metering_local.testing."""

pytest_plugins = ["metering_local.testing"]
