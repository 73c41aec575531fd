"""Ours, the usual answer and the floor that the database sets, side by side: `python -m bench`."""
