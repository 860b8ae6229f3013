"""What writes the documentation: no service uses it, and the wheel does not carry it.

| module | idea |
|---|---|
| `reference` | `docs/reference/` from the code: settings, events, streams, commands, metrics |
| `site` | the pages of the documentation site, gathered from the repository |
"""
