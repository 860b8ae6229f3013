"""The connections to NATS, one for each role, with the rights of that role only."""
