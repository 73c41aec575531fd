"""The mind: what happened, what an order may become, and what is decided. Standard library only."""
