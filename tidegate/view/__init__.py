"""The present state: gathered, counted, and shown in a terminal."""
