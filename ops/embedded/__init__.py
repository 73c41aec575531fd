"""The whole house on one machine with nothing installed by hand: PostgreSQL from a wheel, its queues as the broker."""
