"""Where something was seen: an index of vectors and labels over EVENTS, and the answers on `svc.find`."""

import os

# LanceDB warns of every table that is made, in lines of its own. Before it is imported anywhere.
os.environ.setdefault("LANCEDB_LOG", "error")
