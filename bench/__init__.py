"""Measurements that print tables. `python -m bench` runs all; each also runs alone, as `python -m bench.bench_bus`.

Each compares in one run on one machine, because machines differ and are shared: trust ratios more than figures.
"""

import shared.models  # noqa: F401 - it disables OpenVINO's telemetry, also for those who import it themselves
