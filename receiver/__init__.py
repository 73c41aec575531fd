"""Door of the process `web`: raw bytes, verify, publish with confirm, the provider's own answer. Knows no table."""
