"""A service from its start to its exit: signals, health, and the loading of its model."""
