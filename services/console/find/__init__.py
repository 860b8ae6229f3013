"""The page Find: moments by words, by a picture, by what is like one found before, or by labels.

The search service is told the cameras that somebody may see, and what it answers is looked at once more: see `finding`.
"""
