"""The audit as a process for programs: `python -m tidegate.whatif`.

`shared.contract.questions.whatif` defines its messages.

| module | idea |
|---|---|
| `requests` | a request, and the arrivals that it names |
| `limits` | resource limits of a simulation, and processes that end with their parent |
| `progress` | lines of progress, twice a second, from a thread |
| `answer` | from a request to its answer |

Each module imports only those above it in this table.
"""
