"""What happens now: gathered, counted, and shown in a terminal."""
