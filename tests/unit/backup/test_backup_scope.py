"""What a backup has is decided for every bucket, stream and file."""

from __future__ import annotations

import json
import time

import pytest

from shared.contract import names, topology
from shared.contract.cameras import Camera, encode
from shared.contract.credentials import Credentials
from shared.contract.credentials import encode as encoded_credentials
from shared.runtime.errors import SettingError
from tidegate.backup import entries, scope

SETTINGS = topology.TopologySettings()
CAMERA = encode(Camera(url="rtsp://10.0.0.7"))


def test_every_bucket_is_decided() -> None:
    assert set(scope.BUCKETS) == set(topology.buckets(SETTINGS))


def test_every_stream_is_decided() -> None:
    streams = {str(stream.name): stream for stream in topology.streams(SETTINGS)}
    assert set(scope.STREAMS) == set(streams)
    taken = set(scope.streams(history=True))
    assert set(scope.SUBJECTS) == taken
    for name in taken - {names.ALERTS}:
        for subject in scope.SUBJECTS[name]:
            assert any(names.overlap(own, subject) for own in streams[name].subjects or [])


def test_passwords_are_in_no_backup_without_them() -> None:
    assert not {names.CREDENTIALS, names.ENDPOINT} & set(scope.buckets(passwords=False))
    files = ["admin", "tenants.json", "recordings.key", "store.key", "nats.conf", "nats-2.conf", "cv.msg-id-key"]
    assert [f for f in files if scope.has_secret(f, passwords=False)] == ["tenants.json"]
    assert [f for f in files if scope.has_secret(f)] == ["admin", "tenants.json", "recordings.key", "cv.msg-id-key"]
    person = json.dumps({"role": "admin", "password": "hash"}).encode()
    assert b"hash" not in entries.without_passwords(names.CONSOLE, "person.anna", person)
    camera = encode(Camera(url="rtsp://10.0.0.7/stream?token=abc"))
    assert b"abc" not in entries.without_passwords(names.CAMERAS, "lobby", camera)
    assert not entries.is_taken(names.CONSOLE, "token.ab", passwords=False)


@pytest.mark.parametrize(
    ("bucket", "key"),
    [
        (names.CAMERAS, "removed.lobby"),
        (names.CONSOLE, "session.ab"),
        (names.CONSOLE, "link.ab"),
        (names.CONSOLE, "leaving"),
        (names.WEBHOOK, "status"),
    ],
)
def test_state_of_processes_is_in_no_backup(bucket: str, key: str) -> None:
    assert not entries.is_taken(bucket, key, passwords=True)


@pytest.mark.parametrize(
    ("bucket", "key", "value"),
    [
        (names.CAMERAS, "lobby", b"{"),
        (names.CAMERAS, "lobby", b'{"url": "http://10.0.0.7"}'),
        (names.CAMERAS, "a.b", CAMERA),
        (names.CREDENTIALS, "a.b", b"{}"),
        (names.RULES, "lobby", b'{"zones": 1}'),
        (names.RECORDINGS, "camera.lobby", b'{"keep_days": -1}'),
        (names.RECORDINGS, "other", b"{}"),
        (names.CONSOLE, "person.anna", b'{"role": "owner"}'),
        (names.CONSOLE, "person.a/b", b'{"role": "admin"}'),
        (names.CONSOLE, "session.ab", b"{}"),
        (names.REVIEWS, "reviewed.anna.1", b"[]"),
        (names.WEBHOOK, "start", b"x"),
        (names.WEBHOOK, "status", b"{}"),
        (names.LEASES, "lobby", b"{}"),
    ],
)
def test_an_invalid_entry_is_an_error(bucket: str, key: str, value: bytes) -> None:
    with pytest.raises(SettingError):
        entries.check(bucket, key, value)


def test_valid_entries_pass() -> None:
    entries.check(names.CAMERAS, "lobby", CAMERA)
    entries.check(names.CREDENTIALS, "lobby", b"user:of-an-earlier-version")
    entries.check(names.RULES, "lobby", b"{}")
    entries.check(names.RECORDINGS, "default", b'{"keep_days": 3}')
    entries.check(names.RECORDINGS, "group.doors", b"{}")
    entries.check(names.CONSOLE, "person.anna", b'{"role": "admin"}')
    entries.check(names.WEBHOOK, "start", b'{"seq": 3}')


def test_a_token_keeps_its_end() -> None:
    token = {"person": "anna", "label": "app", "role": "viewer", "began": 0, "expires": time.time() + 1000}
    left = entries.ttl_s(names.CONSOLE, "token.ab", json.dumps(token).encode())
    assert left is not None
    assert 0 < left <= 1000
    assert entries.ttl_s(names.CONSOLE, "person.anna", b'{"role": "admin"}') is None


def test_credentials_of_another_address_are_of_an_unfinished_change() -> None:
    own = encoded_credentials(Credentials(secret="user:x", origin="rtsp://10.0.0.7:554"))
    other = encoded_credentials(Credentials(secret="user:x", origin="rtsp://10.0.0.8:554"))
    assert entries.is_settled("lobby", CAMERA, own)
    assert not entries.is_settled("lobby", CAMERA, other)
