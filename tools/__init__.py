"""Tools that write the documentation and check the code. No service uses them, and the wheel does not include them.

| module | idea |
|---|---|
| `reference` | `docs/reference/` from the code: settings, events, streams, commands, metrics |
| `dashboards` | Grafana's dashboards |
| `patterns` | the code's regular expressions, and what each costs at worst |
| `site` | the pages of the documentation site, gathered from the repository |
| `affected` | the tests that a change can break |
| `gate` | parts of the gate: tests of risks, flakes |
| `image` | the container image, and its bill of materials |
| `release` | the version in all files, and the artefacts of a tag |
"""
