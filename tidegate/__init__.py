"""The command line for people, and the stack on one machine that `tidegate up` and `tidegate demo` run.

| folder | idea |
|---|---|
| `plugins` | what a package needs to bring its own detector or embedding model |
| `client` | the usage of a running system, and files of what was found |
| `keda` | a `ScaledObject` file, and the replica count that KEDA and the HPA decide from metrics and a clock; pure |
| `simulation` | scaling policies on traces of arrivals, and the oracle policy's cost |
| `local` | an embedded nats-server, and with it server, ingest and scaled workers as one thing that starts and stops |
| `audit` | what arrived, what each way to scale would have cost on it, and the ScaledObject for it |
| `importing` | the configuration of another system as a site file |
| `models` | what a detector costs, and the one that `tidegate up` runs |
| `drawing` | frames with what was detected and followed in them; plots |
| `onvif` | ONVIF cameras on the local network, and the streams of one |
| `view` | what happens now, gathered and shown in a terminal; `tidegate up` as the stack and its live view |
| `whatif` | an audit that a program asks for, in a process of its own |
| `archive` | reanalysis of recorded video: on this machine, on idle replicas, or on a cluster of Ray |
| `cluster` | what a Kubernetes cluster has, and what is needed of it |
| `erasing` | erases what there is of a camera, from every store |
| `backup` | one file with what an installation needs on another machine, and its return from there |
| `demo` | real cameras, a surge, and the report that a run leaves behind |
| `chaos` | breaks a whole Tidegate on this machine, and counts what it cost |
| `commands` | one command a file: its options, and what it prints |
"""
