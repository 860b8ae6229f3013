"""Users' requests to a running system in a terminal: live events, usage, files of results.

Requests that programs share are in `shared.client`.
"""
