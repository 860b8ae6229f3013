"""Captions of recordings, with the frames, prompts and requests of live captions."""
