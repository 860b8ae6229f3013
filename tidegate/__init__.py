"""The command line for people, and the stack on one machine that `tidegate up` and `tidegate demo` run.

| module | idea |
|---|---|
| `server` | an embedded nats-server as a child process |
| `identities` | who may do what on it |
| `stack` | server, ingest and autoscaler as one thing that starts and stops |
| `registry` | cameras in KV, as people add and remove them |
| `dlq`, `watch`, `doctor`, `chaos` | what the commands of those names do |
| `up`, `demo` | what people run |
| `footage`, `bank`, `clips` | real video; RTSP cameras that serve it; segments of it |
| `sizing`, `story` | the demo's load, fitted to the machine, and its phases |
| `monitor`, `rates`, `view` | what happens now, and how it is shown in a terminal |
| `report`, `pictures`, `timeline` | the count, the annotated frames and the plot that a demo leaves behind |
"""
