"""What people ask of a running system: cameras, events, moments, tracks, rules, dead letters."""
