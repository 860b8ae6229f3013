"""Jobs for the worker, planned without a model: captions by a schedule, and answers to questions.

| module | idea |
|---|---|
| `stretches` | the stretches of a camera's time to caption; pure |
| `planner` | a job for each, once its video is stored |
| `query` | requests of `svc.ask` as jobs; pure |
| `asking` | questions in flight: each is a job, and waits for its event |
"""
