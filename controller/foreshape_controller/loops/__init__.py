"""The imperative shell: each loop has run_once(now): read, decide, write."""
