"""What the gateway remembers, in SQLite or PostgreSQL."""
