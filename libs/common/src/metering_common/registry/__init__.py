"""The registry: its documents, the replica in memory and how it follows the topic."""
