"""The services: each is a process of its own, started as `python -m services.<name>`.

| service | idea |
|---|---|
| `ingest` | publishes cameras' and files' video as segments; never decodes |
| `cv` | segments into detections |
| `embed` | frames, objects and queries into vectors |
| `search` | events into an index, and answers on `svc.find` |
| `vlm` | jobs into captions, verdicts, answers and summaries |
| `analytics` | detections into tracks, incidents and counts |
| `webhook` | alerts to an HTTP endpoint |
| `pictures` | a picture with each alert, in PICTURES |
| `recorder` | segments into files of a folder or a bucket, and answers on `svc.recording` |
| `console` | pages for people and an HTTP API |
| `scaler` | the number of replicas, for KEDA |
"""

import os
import signal
import sys

INTERRUPTED = 130
TERMINATED = 143

# While `python -m` looks for a service, its name in argv is "-m". Nothing has begun, so that nothing has to be put
# away: Ctrl-C ends a half-loaded service without a word. A loaded one hears it as it hears SIGTERM.
if sys.argv[:1] == ["-m"]:
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    # In a container the service is the first process, which SIGTERM does not end by itself: a pod that goes while it
    # loads would keep its GPU for all of its grace.
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(TERMINATED))
