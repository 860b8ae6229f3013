"""`make bench`: all tables, one after the other."""

from __future__ import annotations

import subprocess
import sys

TABLES = (
    "bench_ingest",
    "bench_bus",
    "bench_detector",
    "bench_embed",
    "bench_find",
    "bench_analytics",
    "bench_tracks",
    "bench_vlm",
    "bench_scaler",
)

for name in TABLES:
    print(f"\n== {name}", flush=True)
    subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False)
