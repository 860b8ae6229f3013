"""The time that replicas used, busy, idle and warming, and the saving against a static fleet."""
