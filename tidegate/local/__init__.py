"""The whole of Tidegate on one machine, as one thing that starts and stops."""
