"""Measurements that print tables. `python -m bench` runs all; each also runs alone, as `python -m bench.bench_bus`.

Each compares in one run on one machine, as machines differ and are shared: trust the ratios more than the figures.
"""

import shared.models  # noqa: F401 - it keeps OpenVINO, which some import themselves, from telling anybody
