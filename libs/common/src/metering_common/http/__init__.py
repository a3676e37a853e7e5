"""What the HTTP services share: problems, bodies, rates."""
