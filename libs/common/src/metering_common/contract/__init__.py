"""What travels: message types, their codec, the topics' contracts, and the ids that order it."""
