"""One trial: what is specified, what the client sends, what the attacker sees, and what it is worth."""
