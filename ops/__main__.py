"""`python -m ops` is `paidonce`."""

from ops.cli import app

app()
