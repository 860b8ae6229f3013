"""What EMBED_MODEL names: the backend and its model, found without loading either. Pure, but for files that it looks
for.
"""

from __future__ import annotations

from pathlib import Path

from shared.contract import catalog
from shared.models import plugins
from shared.models.backends import Backend
from shared.runtime import install
from shared.runtime.errors import ModelError

EMBEDDED = "efficientnet_lite3"
# The backend for each scheme of a spec, and for specs of any other form.
_BACKENDS = {"openvino": Backend("openvino_efficientnet", "embed")}
_PLUGINS = Backend("plugin", "embed")
_OTHERS = Backend("open_clip", "embed-torch")
_MODULES = ("torch", "open_clip")


def parse(spec: str) -> tuple[Backend, str]:
    """Return the backend, and the model's name there."""
    scheme, _, name = spec.partition(":")
    if scheme in _BACKENDS:
        return _BACKENDS[scheme], name
    return (_PLUGINS if plugins.find(plugins.EMBEDDERS, spec) else _OTHERS), spec


def check(spec: str, pretrained: str, device: str) -> None:
    """Check that a spec can be loaded here, as far as names, files and packages show it. Raises ModelError."""
    backend, name = parse(spec)
    if backend is _PLUGINS:
        return
    if backend is not _OTHERS:
        if name != EMBEDDED:
            raise ModelError(f"EMBED_MODEL={spec} is not known: openvino:{EMBEDDED} is the embedded one")
        if device != "cpu":
            raise ModelError(f"EMBED_MODEL={spec} runs on cpu, not {device}: take a CLIP model such as ViT-B-32")
        return
    if absent := [module for module in _MODULES if not catalog.is_importable(module)]:
        remedy = f"{install.command(_OTHERS.extra)}, or take openvino:{EMBEDDED}"
        raise ModelError(f"EMBED_MODEL={spec} needs {', '.join(absent)}, not installed here: {remedy}")
    for variable, path in (("EMBED_MODEL", name), ("EMBED_PRETRAINED", pretrained)):
        if path.startswith(("/", "./", "../")) and not Path(path).exists():
            raise ModelError(f"{variable}={path} does not exist, as this process sees it: correct the path")
