"""The state of the system: streams, dead letters, checks, versions, and the audit log."""
