"""A one-node Kubernetes whose pods really run, for tests: `metering-cluster up`, `down`, `kubectl`."""
