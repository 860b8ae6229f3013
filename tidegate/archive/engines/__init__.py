"""Where a run executes. `tidegate.archive.run.Engine` has the methods of every engine.

| module | idea |
|---|---|
| `child`, `local_engine` | processes of this machine |
| `task_server`, `live_engine` | idle replicas of cv |
| `ray_driver`, `ray_engine` | a Ray cluster |
"""
