"""What runs once before a release's services do."""
