"""What a run leaves behind: a report, past events for search, and its progress for the console."""
