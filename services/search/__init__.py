"""Where something was seen: an index of vectors and labels over EVENTS, and the answers on `svc.find`."""
