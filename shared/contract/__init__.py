"""What other programs rely on: names, streams, rights, events, jobs, headers, a camera's entry and its rules.

Pure, but for `topology.apply`.
"""
