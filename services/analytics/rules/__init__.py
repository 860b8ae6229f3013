"""A camera's rules: `rulebook` reads all of them from KV, `conditions` says where one is true at a frame.

Their format is `shared/contract/rules.py`: others check and store them too. See docs/how-to/rules.md.
"""
