"""The life of a process: settings, lifecycle, clock, logs, metrics, traces, the admin port."""
