"""The present state: gathered, counted, and shown in a terminal.

| module | idea |
|---|---|
| `inert` | prints foreign text, made harmless for terminals |
| `screen`, `waiting` | the terminal: tables and colours, redirected log lines; progress of long work |
| `words`, `records` | numbers in words; records for a terminal or a pipe |
| `events`, `moments` | events and found moments, for users |
| `findings` | results of checks and their remedies |
| `policies`, `audit` | the cost of each scaling policy; an audit in words |
| `status`, `status_screen` | what is wrong and what runs, in one reading; its screen |
| `monitor`, `terminal` | the present state; its live view |
| `up`, `workers` | the stack and its live view; the pools of one machine |
"""
