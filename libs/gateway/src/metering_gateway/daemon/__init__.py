"""The daemon `metering-gateway run`: sources, outbox and sending in one process that nobody looks after."""
