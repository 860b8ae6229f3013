"""The console's process: connections, background work, and uvicorn until it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn

from services.console.console import Console
from services.console.links.links import Links
from services.console.server.app import build
from services.console.server.headers import App
from services.console.server.pages import Pages
from services.console.settings import ConsoleSettings
from shared.bus.client import Connection
from shared.runtime.errors import SettingError, TidegateError
from shared.runtime.tasks import end, supervise, unless
from shared.runtime.telemetry import Health, logger
from shared.runtime.ticks import tick
from shared.service.process import beat

# Browsers that listen to events would never end their requests.
_GRACE_S = 2
_BACKLOG = 1024
_DATE_S = 1.0


async def serve(
    settings: ConsoleSettings,
    client: Connection,
    health: Health,
    stop: asyncio.Event,
    on_open: Callable[[Pages], None] = lambda _: None,
) -> None:
    """Serve until `stop` is set. on_open: called with the state of the pages. Raises TidegateError."""
    listening = _listen(settings)
    try:
        async with Links(settings, client) as links:
            console = await Console.open(settings, links)
            pages = Pages(console)
            on_open(pages)
            tasks = [asyncio.create_task(_run_forever(work)) for work in (*pages.running(), beat(client, health))]
            try:
                health.ready = "reading who may use it"
                await supervise(console.ready(), *tasks, stop=stop)
                if not stop.is_set():
                    await _serve(pages, listening, health, stop, tasks)
            finally:
                await end(*tasks)
    finally:
        listening.close()


async def _serve(
    pages: Pages,
    listening: socket.socket,
    health: Health,
    stop: asyncio.Event,
    tasks: list[asyncio.Task[None]],
) -> None:
    """Serve until `stop` is set and requests in flight are answered. Otherwise the closed socket would stay in the
    loop, which would then ignore the next socket of its number.
    """
    console, settings = pages.console, pages.console.settings
    server = _Server(_config(settings, build(pages)))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    host, port = listening.getsockname()[:2]
    scheme = "https" if settings.console_cert else "http"
    logger("console").info("serves", url=f"{scheme}://{host}:{port}{settings.sub_path}/")
    if not console.people.names():
        logger("console").info("nobody may use it yet: 'tidegate console link' prints a link that makes an admin")
    health.ready = None
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([serving, stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        health.ready = "it stops"
        server.stop()
        await end(stopped)
        await serving


async def _run_forever(work: object) -> None:
    """Run background work, whose end is an error for the task that awaits it."""
    await work  # type: ignore[misc]
    raise TidegateError("a part of the console has ended")


class _Server(uvicorn.Server):
    """A server that leaves signals to the process, and renews its `date` once a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self.should_exit = True
        self._stopping.set()

    async def main_loop(self) -> None:
        # Uvicorn's own loop wakes ten times a second.
        while not await self.on_tick(0):
            await unless(self._stopping, tick(_DATE_S))

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(settings: ConsoleSettings, app: App) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="websockets-sansio",
        ws_max_size=64 * 1024,
        timeout_graceful_shutdown=_GRACE_S,
        ssl_certfile=settings.console_cert or None,
        ssl_keyfile=settings.console_key or None,
    )


def _listen(settings: ConsoleSettings) -> socket.socket:
    """Return the listening socket. Raises SettingError if the address is not available."""
    host = settings.console_host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, settings.console_port), family=family, backlog=_BACKLOG)
    except OSError as e:
        raise SettingError(
            f"CONSOLE_PORT={settings.console_port} on {settings.console_host} can't be used: {e.strerror}; "
            "0 takes a free one"
        ) from e
    # Accepted sockets inherit this, as asyncio does not set it on them. Otherwise an answer's second part, its body,
    # would wait 40 ms for the client's acknowledgement of the first.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
