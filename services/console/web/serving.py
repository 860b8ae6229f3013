"""The console's process: connections, what runs in the background, and uvicorn until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn

from services.console.links.links import Links
from services.console.settings import ConsoleSettings
from services.console.web.app import build
from services.console.web.console import Console
from services.console.web.headers import App
from shared.bus.client import Connection
from shared.runtime.errors import SettingError, TidegateError
from shared.runtime.tasks import end, supervise
from shared.runtime.telemetry import Health, logger
from shared.service.process import beat

# Browsers that hear events would keep it for ever.
_GRACE_S = 2
_BACKLOG = 1024


async def serve(
    settings: ConsoleSettings,
    client: Connection,
    health: Health,
    stop: asyncio.Event,
    opened: Callable[[Console], None] = lambda _: None,
) -> None:
    """Until `stop` is set. opened: is told of what the routes share. Raises TidegateError."""
    listening = _listen(settings)
    try:
        async with Links(settings, client) as links:
            console = await Console.opened(settings, links)
            opened(console)
            tasks = [asyncio.create_task(_lasting(work)) for work in (*console.running(), beat(client, health))]
            try:
                health.ready = "reading who may use it"
                await supervise(console.ready(), *tasks, stop=stop)
                if not stop.is_set():
                    await _serve(settings, console, listening, health, stop, tasks)
            finally:
                await end(*tasks)
    finally:
        listening.close()


async def _serve(
    settings: ConsoleSettings,
    console: Console,
    listening: socket.socket,
    health: Health,
    stop: asyncio.Event,
    tasks: list[asyncio.Task[None]],
) -> None:
    """Until `stop` is set, and all that was begun is answered. To stop it otherwise would leave the socket in the loop,
    closed: the loop would not hear of the next one of its number.
    """
    server = _Server(_config(settings, build(console)))
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
        server.should_exit = True
        await end(stopped)
        await serving


async def _lasting(work: object) -> None:
    """What goes on in the background: its end is an error, whoever waits for it sees."""
    await work  # type: ignore[misc]
    raise TidegateError("a part of the console has ended")


class _Server(uvicorn.Server):
    """Signals are the process's own matter."""

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
    """Raises SettingError where the address can't be had."""
    host = settings.console_host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, settings.console_port), family=family, backlog=_BACKLOG)
    except OSError as e:
        raise SettingError(
            f"CONSOLE_PORT={settings.console_port} on {settings.console_host} can't be used: {e.strerror}; "
            "0 takes a free one"
        ) from e
    # Those that it accepts have it from here, as asyncio sees no protocol of theirs: an answer's second part, its body,
    # would wait 40 ms until the client has said that the first is there.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
