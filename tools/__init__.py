"""What writes the documentation and looks at the code: no service uses it, and the wheel does not carry it.

| module | idea |
|---|---|
| `reference` | `docs/reference/` from the code: settings, events, streams, commands, metrics |
| `patterns` | the code's regular expressions, and what each costs at worst |
| `site` | the pages of the documentation site, gathered from the repository |
"""
