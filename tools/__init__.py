"""Tools that write the documentation and check the code. No service uses them, and the wheel does not include them.

| module | idea |
|---|---|
| `reference` | `docs/reference/` from the code: settings, events, streams, commands, metrics |
| `patterns` | the code's regular expressions, and what each costs at worst |
| `site` | the pages of the documentation site, gathered from the repository |
"""
