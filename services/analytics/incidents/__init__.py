"""Incidents from true rules: `lifecycle` begins, updates, ends and verifies them. Pure."""
