"""The operator's command, a client of the API (cliff)."""
