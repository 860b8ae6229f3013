"""How the system itself does: streams, dead letters, checks, versions, and what people changed."""
