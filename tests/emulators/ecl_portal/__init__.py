"""An emulator of the ECL Portal's web API, made from what the guide says and, beyond it, from the poller's dialect."""
