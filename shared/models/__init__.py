"""Common code of the models' backends.

| module | idea |
|---|---|
| `machine` | a machine, as a measurement records it |
| `devices` | where a model runs |
| `backends` | loads a model by the module that can run it |
| `plugins` | finds and loads models of other packages |
| `runtimes` | run exported files on batches of pictures |
| `torch` | the device of a model of torch |
| `weights` | finds the embedded weights |
| `vectors` | the vectors of events |
| `measured` | measured models in a folder, and the active one |
"""

from __future__ import annotations

import sys

# OpenVINO reports each importing process to Intel, by Google Analytics, in a fork of that process that may hang. It
# works without this package.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
