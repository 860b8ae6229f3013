"""One camera: connects to it, reads it and keeps it connected.

| module | idea |
|---|---|
| `memory` | bounds a single allocation of libav |
| `handshake` | checks that a camera answers for itself, before libav has its password |
| `reading` | reads the packets of an open camera or file |
| `opening` | opens a camera or a file |
| `connection` | one connection: a thread that reads packets and cuts segments |
| `connect_queue` | decides which camera is connected to next |
| `status` | announces when a camera goes online or offline |
| `stop` | names why a camera stops in this process, and what becomes of its video |
| `connection_limit` | infers whether a camera plays one stream at a time |
| `stream_runner` | runs one stream: keeps it connected, and publishes its segments |
| `runner` | runs one camera: its stream, or both |
"""
