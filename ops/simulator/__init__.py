"""Stands in for the providers: signs as they do, and sends late, twice, out of order; and for somebody who forges."""
