"""Every stream, bucket and place of files is decided in the table of erasures."""

from __future__ import annotations

from shared.contract import catalog, names, topology
from tidegate.erasing import answers, table

SETTINGS = topology.TopologySettings()


def test_every_stream_and_bucket_is_decided() -> None:
    assert set(table.STREAMS) == {stream.name for stream in topology.streams(SETTINGS)}
    assert set(table.BUCKETS) == set(topology.buckets(SETTINGS))


def test_every_place_where_a_service_has_files_is_decided() -> None:
    places = {key for service in catalog.SERVICES for key, value in service.defaults.items() if "{data}" in value}
    assert places == {"RECORDER_STORE", "SEARCH_INDEX"}
    assert set(table.SERVICES) == set(answers.SUBJECTS) == {table.RECORDED, table.INDEX}


def test_what_stays_says_why_and_what_is_erased_says_how() -> None:
    for name, store in table.every().items():
        if store.way in ("stays", "expires"):
            assert store.why, name
        if store.way == "messages":
            assert store.subjects, name


def test_buckets_whose_entries_are_erased_permit_that() -> None:
    erased = {name for name, store in table.BUCKETS.items() if store.way == "entries"}
    # An apply erases its own changes.
    assert erased | {names.SITE, names.ENDPOINT} == set(topology.ERASABLE)
    for name, config in topology.buckets(SETTINGS).items():
        assert bool(config.deny_delete) == (name not in topology.ERASABLE), name


def test_subjects_of_a_camera_are_in_its_stream_and_of_no_other_camera() -> None:
    for stream in topology.streams(SETTINGS):
        store = table.STREAMS[str(stream.name)]
        taken = stream.subjects or [source for s in stream.sources or [] for source in ("events.>",)]
        for subject in table.subjects(store, "lobby"):
            assert any(names.overlap(pattern, subject) for pattern in taken), subject
            for other in ("lobby2", "lobby-2", "lob"):
                assert not any(names.overlap(subject, theirs) for theirs in table.subjects(store, other)), subject
