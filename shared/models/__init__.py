"""What the backends of models share.

| module | idea |
|---|---|
| `backends` | loads a model by the module that can run it |
| `openvino`, `torch` | run models on a CPU or GPU, and feed them with pictures |
| `weights` | finds the embedded weights |
| `vectors` | vectors as events carry them |
"""

from __future__ import annotations

import sys

# OpenVINO tells Intel, by Google Analytics, of each process that imports it, in a fork of that process that may hang.
# It does without this package where it is not there.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
