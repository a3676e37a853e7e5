"""The prober: a gateway and an analyst in one process, which look at the platform from outside."""
