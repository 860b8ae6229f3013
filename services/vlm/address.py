"""VLM_URL of a managed endpoint, not a server. Pure."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

import msgspec

from shared.runtime.errors import SettingError
from shared.runtime.redact import redact

SCHEME = "sagemaker"
# As in botocore's model of the service; a region must not lead elsewhere.
_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?", re.ASCII)
_REGION = re.compile(r"[a-z0-9-]{1,40}", re.ASCII)
_PARTS = ("component", "region")


class SageMakerAddress(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint of Amazon SageMaker. component: an inference component of it; region: of AWS; both may be empty."""

    endpoint: str
    component: str = ""
    region: str = ""


def sagemaker(url: str) -> SageMakerAddress:
    """Parse a URL such as `sagemaker://qwen-vl?component=qwen-vl-1&region=eu-west-1`. Raises SettingError."""
    shown = f"VLM_URL={redact(url)!r}"
    try:
        parts = urlsplit(url)
        found = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as e:
        raise SettingError(f"{shown} is no URL: give one such as sagemaker://qwen-vl?region=eu-west-1") from e
    fields = dict(found)
    if parts.path not in ("", "/") or parts.fragment or len(fields) != len(found) or set(fields) - set(_PARTS):
        raise SettingError(f"{shown}: beside the endpoint's name it takes ?component= and &region=, once each")
    # `hostname` would be lower case, but endpoint names are case-sensitive.
    for what, name in (("endpoint", parts.netloc), ("component", fields.get("component"))):
        if name is not None and not _NAME.fullmatch(name):
            raise SettingError(f"{shown}: {name!r} is no name of an {what}: letters, digits and hyphens, 63 at most")
    region = fields.get("region")
    if region is not None and not _REGION.fullmatch(region):
        raise SettingError(f"{shown}: {region!r} is no region of AWS: give one such as eu-west-1")
    return SageMakerAddress(endpoint=parts.netloc, component=fields.get("component", ""), region=region or "")
