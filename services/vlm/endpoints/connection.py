"""The model of the settings: at an endpoint, or at a vLLM that is started and stopped here."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from services.vlm import address
from services.vlm.endpoints.model import Model
from services.vlm.endpoints.openai import ModelEndpoint
from services.vlm.endpoints.sagemaker import SageMakerEndpoint
from services.vlm.endpoints.vllm_server import VllmServer
from services.vlm.settings import VlmSettings
from shared.runtime.errors import Away


@contextlib.asynccontextmanager
async def connect(settings: VlmSettings) -> AsyncIterator[tuple[Model, VllmServer | None]]:
    """Yield the model, and the server if that is ours. Raises SettingError and ModelError."""
    async with contextlib.AsyncExitStack() as started:
        server = None if settings.vlm_url else await started.enter_async_context(VllmServer(settings))
        endpoint = await started.enter_async_context(_endpoint(settings, server))
        starting = "vLLM is loading" if server else f"{endpoint.where} was not asked yet"
        yield Model(endpoint, settings, starting=starting), server


async def probe(settings: VlmSettings) -> str:
    """Return why the endpoint of VLM_URL can't be used now; empty if it can. Raises SettingError."""
    async with _endpoint(settings, None) as endpoint:
        try:
            await Model(endpoint, settings, starting="").look()
        except Away as e:
            return str(e)
    return ""


def upkeep(model: Model, server: VllmServer | None) -> list[asyncio.Task[Any]]:
    """Return the tasks that maintain both. They raise ModelError if our server can't start."""
    beside: list[asyncio.Task[Any]] = [asyncio.create_task(model.keep(), name="endpoint")]
    if server:
        beside.append(asyncio.create_task(server.failed(), name="vllm"))
    return beside


def _endpoint(settings: VlmSettings, server: VllmServer | None) -> ModelEndpoint:
    """Return the model's endpoint. Raises SettingError."""
    timeout_s = settings.vlm_timeout_s
    if server:
        return ModelEndpoint(server.url, key=lambda: server.key, timeout_s=timeout_s)
    if settings.vlm_url.startswith(f"{address.SCHEME}://"):
        found = address.sagemaker(settings.vlm_url)
        return SageMakerEndpoint(found, model=settings.vlm_model, timeout_s=timeout_s)
    return ModelEndpoint(settings.vlm_url, key=_key(settings), timeout_s=timeout_s)


def _key(settings: VlmSettings) -> Callable[[], str]:
    """Return a function that reads the endpoint's key. A file is re-read each time, as keys are renewed."""
    path = os.environ.get("VLM_KEY_FILE", "")
    if not path or os.environ.get("VLM_KEY"):
        return lambda: settings.vlm_key

    def read() -> str:
        try:
            return Path(path).read_text().strip()
        except OSError as e:
            raise Away(f"VLM_KEY_FILE={path} can't be read: {e.strerror}") from e

    return read
