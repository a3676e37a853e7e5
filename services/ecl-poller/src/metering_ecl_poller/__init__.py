"""The Danfoss ECL Portal's data onto the measurement topics, hourly."""
