"""The audit as a process for programs: `python -m tidegate.whatif`. `shared.contract.whatif` defines its messages.

| module | idea |
|---|---|
| `requests` | a request, and the arrivals that it names |
| `series` | a trace and its replicas, reduced to the points of a plot |
| `answer` | an audit's figures, sentences and files as an answer |
| `limits` | resource limits of a simulation, and processes that end with their parent |
| `progress` | lines of progress, twice a second, from a thread |
| `simulation` | from a request to its answer |

Each module imports only those above it in this table.
"""
