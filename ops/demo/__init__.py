"""The promise shown on this machine: sent twice, forged, out of order and too early, and every order paid once."""
