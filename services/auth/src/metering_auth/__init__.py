"""The control plane: providers, gateways, devices, tokens, keys, and the published registry."""
