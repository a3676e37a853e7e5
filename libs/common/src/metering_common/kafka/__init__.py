"""How services reach Kafka: clients, the publisher, topics and ACLs from their contracts."""
