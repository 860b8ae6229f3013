"""Users, and what they may see."""
