"""The whole of Tidegate on one machine, as one unit that starts and stops."""
