"""The page Find: moments by words, by a picture, by likeness to an earlier moment, or by labels.

The search service gets the cameras that the user may see, and its answer is filtered again: see `search_client`.
"""
