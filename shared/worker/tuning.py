"""The numbers that tune the loop. None of them is a setting: a change is a change of this file."""

from __future__ import annotations

import msgspec

from shared.runtime.backoff import Backoff


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """One sentence a number; tests may pass others.

    ack_tries: how often the server is asked to confirm an acknowledgement before the message is left to come again.
    ack_timeout_s: how long each of those tries waits for the server's answer.
    flush_s: how long a drain waits until the server has read the last answers.
    retry: after how long a message that failed is delivered again, by the number of its deliveries.
    most_tries: how many deliveries of a message that fails by itself are enough, however many its consumer allows.
    suspect_deliveries: from which delivery on a message may be what killed the workers that had it before.
    between_suspects_s: the pause after a suspect before the next one, so that urgent work can come between them.
    quiet_s: for how long nothing may have been delivered before what was said to be pending counts as others' work.
    look_s: how often a replica without time looks whether what was put off is still kept.
    poll_s: how often it looks whether there is time, and whether anything was put off.
    ask_s: how long a replica with time waits before it asks again for a second look, as none was wanted.
    nobody: the same where nobody is there who could want one, and where nobody answers, by how often that was so.
    blind_s: how long nothing of MEDIA may be found before it counts as empty, not as one that its server can't read.
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
    look_s: float = 10.0
    poll_s: float = 0.1
    ask_s: float = 1.0
    nobody: Backoff = Backoff(first_s=5.0, longest_s=60.0)
    blind_s: float = 30.0
    device_failures: int = 3
