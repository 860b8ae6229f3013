"""The interface for other programs: names, streams, rights, events, jobs, headers, a camera's entry and its rules.

Pure, except `topology.apply`.
"""
