"""The constants of the loop. None of them is a setting: a change is a change of this file."""

from __future__ import annotations

import msgspec

from shared.runtime.backoff import Backoff


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """One sentence per number; tests may pass others.

    ack_tries: how many tries to have the server confirm an acknowledgement before the message may come again.
    ack_timeout_s: how long each of those tries waits for the server's answer.
    flush_s: how long a drain waits until the server has read the last answers.
    retry: after how long a message that failed is delivered again, by the number of its deliveries.
    most_tries: maximum deliveries of a message that fails by itself, however many its consumer allows.
    suspect_deliveries: the delivery from which on a message may have killed its previous workers.
    between_suspects_s: the pause after a suspect before the next one, so that urgent work can come between them.
    quiet_s: seconds without a delivery after which messages reported as pending count as others' work.
    spare_wait_s: how long deferred or recorded work waits for spare time before it is checked again.
    poll_s: how often it checks whether there is time, and whether anything was deferred.
    ask_s: how long an idle replica waits before it asks for reanalysis again, if there was none.
    nobody: the same if there is no responder or no answer, by how often that was so.
    blind_s: how long MEDIA may look empty because its server can't read it, before it counts as empty.
    device_failures: how many different messages in a row must fail on the device, each alone, to blame the device.
    """

    ack_tries: int = 3
    ack_timeout_s: float = 2.0
    flush_s: int = 2
    retry: Backoff = Backoff(first_s=1.0, longest_s=60.0, jitter=0.0)
    most_tries: int = 5
    suspect_deliveries: int = 3
    between_suspects_s: float = 0.05
    quiet_s: float = 1.0
    spare_wait_s: float = 10.0
    poll_s: float = 0.1
    ask_s: float = 1.0
    nobody: Backoff = Backoff(first_s=5.0, longest_s=60.0)
    blind_s: float = 30.0
    device_failures: int = 3
