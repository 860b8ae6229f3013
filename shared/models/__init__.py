"""What the backends of models share.

| module | idea |
|---|---|
| `backends` | loads a model by the module that can run it |
| `openvino`, `torch` | run models on a CPU or GPU, and feed them with pictures |
| `weights` | finds the embedded weights |
| `vectors` | vectors as events carry them |
"""
