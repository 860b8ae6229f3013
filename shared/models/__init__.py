"""Common code of the models' backends.

| module | idea |
|---|---|
| `backends` | loads a model by the module that can run it |
| `plugins` | finds and loads models of other packages |
| `openvino`, `torch` | run models on a CPU or GPU on batches of pictures |
| `weights` | finds the embedded weights |
| `vectors` | the vectors of events |
"""

from __future__ import annotations

import sys

# OpenVINO reports each importing process to Intel, by Google Analytics, in a fork of that process that may hang. It
# works without this package.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
