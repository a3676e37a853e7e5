"""An emulator of the ECL Portal's web API, made from the guide and, beyond it, from the poller's dialect."""
