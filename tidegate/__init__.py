"""The command line for people, and the stack on one machine that `tidegate up` and `tidegate demo` run.

| module | idea |
|---|---|
| `server` | an embedded nats-server as a child process |
| `identities` | who may do what on it |
| `stack` | server, ingest and autoscaler as one thing that starts and stops |
| `registry` | cameras in KV, as people add and remove them |
| `dlq`, `watch`, `doctor`, `chaos` | what the commands of those names do |
| `up`, `demo` | what people run |
| `footage`, `bank` | real video, and RTSP cameras that serve it |
| `view`, `report` | the live terminal view; the pictures, plot and summary left behind |
"""
