"""What recorder and search erase on request, part by part, and what their silence means."""

from __future__ import annotations

import msgspec
from nats.aio.client import Client

from shared.bus import requests
from shared.bus.requests import NobodyAnswers
from shared.contract import names
from shared.contract.questions.erasure import Erased, ErasureRequest
from shared.contract.reading.missing import stored_subjects
from shared.runtime.errors import BusError, Refusal, TidegateError
from tidegate.erasing.messages import Tell
from tidegate.erasing.table import INDEX, RECORDED

# One part of an erasure: at most one table of the index, or some hundred files.
PATIENCE_S = 300.0
# Seconds until a silent service counts as away, unless it has something to do.
SILENT_S = 10.0
SUBJECTS = {RECORDED: names.ERASE_RECORDINGS, INDEX: names.ERASE_INDEX}
_REMEDIES = {
    RECORDED: "no recorder answers for this camera: start it ('tidegate up --record'), and run this again",
    INDEX: "no search service answers: start it ('tidegate up --search'), and run this again. Where its index is gone, "
    "'tidegate reindex' begins without it",
}


class Away(TidegateError):
    """The service does not answer, or refuses: it may have something of the camera."""


async def ask(client: Client, store: str, request: ErasureRequest, tell: Tell) -> Erased | None:
    """Erase, or count, all parts; return their sum. None if the service never had anything.

    Raises Away.
    """
    count = size = 0
    since = until = None
    remark = ""
    # A dry run is quick: it shows whether anyone answers at all.
    for step in (msgspec.structs.replace(request, dry_run=True), request):
        patience_s = SILENT_S if step.dry_run else PATIENCE_S
        more = True
        while more:
            try:
                answer = await requests.ask(client, SUBJECTS[store], msgspec.json.encode(step), timeout_s=patience_s)
                part = requests.read(answer, Erased)
            except NobodyAnswers as e:
                if await _never_ran(client, store, request.camera):
                    return None
                raise Away(_REMEDIES[store]) from e
            except Refusal as e:
                raise Away(f"{e}: see its log, and run this again") from e
            more = part.more
            if step.dry_run and (not part.count or request.dry_run):
                return part
            if not step.dry_run:
                count, size = count + part.count, size + part.size
                since = min((t for t in (since, part.since) if t), default=None)
                until = max((t for t in (until, part.until) if t), default=None)
                remark = part.remark or remark
                tell(f"{store}: {count:,} erased")
    return Erased(count=count, size=size, since=since, until=until, remark=remark)


async def _never_ran(client: Client, store: str, camera: str) -> bool:
    """Whether a service can have nothing of a camera: it never recorded it, or never indexed anything."""
    js = client.jetstream()
    if store == RECORDED:
        key = f"$KV.{names.RECORDER}.camera.{camera}"
        return not await stored_subjects(js, f"KV_{names.RECORDER}", key)
    try:
        info = await js.consumer_info(names.EVENTS, "search")
    except Exception as e:
        raise BusError(f"the consumer of search can't be step for: {e!r}") from e
    return not (info.delivered and info.delivered.consumer_seq)
