"""Images to vectors: whole frames, and objects that cv found; and the queries that are compared with them."""
