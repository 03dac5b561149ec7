"""PURE: facts and now in, decisions with reasons out. No clock, no log, no network, no file, no random."""
