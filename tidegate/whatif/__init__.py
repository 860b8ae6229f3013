"""The audit, asked by a program: `python -m tidegate.whatif`. `shared.contract.whatif` says what goes in and out.

| module | idea |
|---|---|
| `asked` | a request, and the arrivals that it names |
| `series` | a trace and its replicas, as few points as a plot shows |
| `answer` | an audit's figures, sentences and files as an answer |
| `limits` | what a simulation may take of this machine, and processes that end with their parent |
| `telling` | lines of progress, twice a second, whatever else goes on |
| `audited` | from a request to its answer |

Each module imports only those above it in this table.
"""
