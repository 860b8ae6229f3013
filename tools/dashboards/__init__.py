"""`deploy/observability/dashboards` from code: `make reference` writes it, and a test fails where a file differs.

| module | idea |
|---|---|
| `page` | a page as data: rows of graphs, and the queries of each |
| `grafana` | a page as the JSON that Grafana reads, by its own SDK |
| `scaling` | whether GPUs follow the video, and what they cost |
| `services` | a page a service, and one of NATS |
"""
