"""What people ask of a running system in a terminal: events as they come, what was used, files of what was found.

What a program may ask as well is `shared.client`.
"""
