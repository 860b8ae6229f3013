"""The index against what a list would answer: over chunks, twice the same, old and new, tidied and not."""

from __future__ import annotations

import datetime as dt
import shutil
import threading
import time
from pathlib import Path

import lancedb
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.search import chunk, index
from services.search.index import Index
from services.search.retention import Retention
from services.search.rows import LabelRow, VectorRow, Where
from services.search.settings import SearchSettings
from shared.models.vectors import normalise, pack, unpack
from tests.support.examples import examples

pytestmark = pytest.mark.xdist_group("index")

DIMENSION = 24
CAMERAS = ("a", "b", "c")
TAGS = (None, "person", "dog")


def vector_row(n: int, model: str = "m") -> VectorRow:
    """The row of second n."""
    scene = np.random.default_rng(n % 7).normal(size=DIMENSION)
    vector = normalise((scene + 0.2 * np.random.default_rng(n).normal(size=DIMENSION)).astype(np.float32))
    return VectorRow(
        id=f"embed/{model}/MEDIA/{n}#0",
        camera=CAMERAS[n % 3],
        start=n * 1000,
        end=n * 1000 + 1000,
        time=n * 1000,
        seq=n,
        label=TAGS[n % 2],
        score=0.5 if n % 2 else None,
        box=(0.0, 0.0, 0.5, 0.5) if n % 2 else None,
        model=model,
        dimension=DIMENSION,
        vector=pack(vector),
    )


def label_row(n: int) -> LabelRow:
    return LabelRow(
        id=f"cv/ssd/MEDIA/{n}#x",
        camera=CAMERAS[n % 3],
        start=n * 1000,
        end=n * 1000 + 1000,
        time=n * 1000 + 200,
        seq=n,
        label=TAGS[1 + n % 2],
        score=(n * 37 % 100) / 100,
        box=(0.0, 0.0, 1.0, 1.0),
    )


def again(index: Index, folder: str | Path) -> Index:
    """Open the index as after a restart."""
    index.close()
    return Index(str(folder), vectors=50)


def retention(index: Index) -> Retention:
    return Retention(index.tables, SearchSettings())


def matches(row: VectorRow | LabelRow, where: Where) -> bool:
    return (
        (not where.cameras or row.camera in where.cameras)
        and (where.since is None or row.time >= where.since)
        and (where.until is None or row.time < where.until)
        and (not where.labels or row.label in where.labels)
        and (not where.seqs or row.seq in where.seqs)
    )


def nearest(rows: list[VectorRow], query: np.ndarray, where: Where, limit: int) -> list[tuple[float, str]]:
    """(cosine, id), best first."""
    found = [(float(unpack(r.vector, DIMENSION) @ query), r.id) for r in rows if matches(r, where)]
    return sorted(found, reverse=True)[:limit]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """300 rows of each kind in chunks of 70 and 90."""
    index = Index(str(tmp_path_factory.mktemp("index")), vectors=70, labels=90)
    for first in range(0, 300, 20):
        index.add(
            [vector_row(n) for n in range(first, first + 20)],
            [label_row(n) for n in range(first, first + 20)],
        )
    return index


wheres = st.builds(
    Where,
    cameras=st.lists(st.sampled_from([*CAMERAS, "none"]), unique=True, max_size=2),
    since=st.none() | st.integers(0, 310_000),
    until=st.none() | st.integers(0, 310_000),
    labels=st.lists(st.sampled_from(["person", "dog", "it's"]), unique=True, max_size=2),
    seqs=st.lists(st.integers(0, 320), unique=True, max_size=5),
)


@pytest.mark.slow
@settings(max_examples=examples(60))
@given(wheres, st.integers(0, 1000), st.integers(1, 30))
def test_results_equal_those_of_a_list(filled: Index, where: Where, seed: int, limit: int) -> None:
    query = normalise(np.random.default_rng(seed).normal(size=DIMENSION).astype(np.float32))
    rows = [vector_row(n) for n in range(300)]
    found, wanted = filled.similar("m", query, where, limit), nearest(rows, query, where, limit)
    cosines = {id: cosine for cosine, id in nearest(rows, query, where, 1000)}
    # The query has half precision too: what differs in the third decimal may change places.
    assert [cosines[h.id or ""] for h in found] == pytest.approx([c for c, _ in wanted], abs=2e-3)
    assert [h.score for h in found] == pytest.approx([cosines[h.id or ""] for h in found], abs=2e-3)
    labelled = [r for r in map(label_row, range(300)) if matches(r, where)]
    best = sorted(((r.score or 0, r.time, r.seq) for r in labelled), reverse=True)[:limit]
    assert [h.seq for h in filled.labelled(where, limit)] == [seq for _, _, seq in best]
    with_labels = {r.seq for r in labelled}
    assert filled.segments_with(where, 1000) == with_labels
    assert filled.segments_with(where, len(with_labels)) == with_labels
    if with_labels:
        assert filled.segments_with(where, len(with_labels) - 1) is None


def test_a_row_is_found_by_its_id_in_any_chunk(filled: Index) -> None:
    for n in (0, 150, 299):
        found = filled.vector(f"embed/m/MEDIA/{n}#0")
        assert found is not None and found[0] == "m"
        assert np.allclose(found[1], unpack(vector_row(n).vector, DIMENSION))
    assert filled.vector("embed/m/MEDIA/300#0") is None
    assert filled.known_labels() == {"person", "dog"}


@pytest.mark.slow
@settings(max_examples=examples(15))
@given(batches=st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=25), min_size=1, max_size=8))
def test_repeated_rows_are_stored_once(tmp_path_factory: pytest.TempPathFactory, batches: list[list[int]]) -> None:
    folder = str(tmp_path_factory.mktemp("index"))
    index = Index(folder, vectors=15, labels=10)
    for batch in batches:
        index.add([vector_row(n) for n in batch], [label_row(n) for n in batch])
    wanted = {n for batch in batches for n in batch}
    for _ in range(2):
        assert index.tables.count() == 2 * len(wanted)
        query = unpack(vector_row(batches[0][0]).vector, DIMENSION)
        assert sorted(h.seq for h in index.similar("m", query, Where(), 1000)) == sorted(wanted)
        index = again(index, folder)


def test_old_rows_and_their_bytes_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk, "TUNING", msgspec.structs.replace(chunk.TUNING, kept_versions=dt.timedelta(0)))
    index = Index(str(tmp_path), vectors=50, labels=1000)
    for first in range(0, 300, 10):
        index.add([vector_row(n) for n in range(first, first + 10)], [label_row(n) for n in range(first, first + 10)])
    before = index.tables.size()
    assert retention(index).drop_before(120_000) == 240
    retention(index).tidy()
    assert index.tables.size() < before
    for _ in range(2):
        assert index.tables.count() == 360
        assert min(h.seq for h in index.similar("m", unpack(vector_row(0).vector, DIMENSION), Where(), 1000)) == 120
        index = again(index, tmp_path)
    assert retention(index).drop_before(10**9) == 360
    assert index.tables.count() == 0
    index.add([vector_row(1000)], [])
    assert index.tables.count() == 1


def test_the_first_added_row_is_deleted_first_even_if_the_clock_steps_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = Index(str(tmp_path), vectors=4, labels=1000)
    index.add([vector_row(n) for n in (90, 50)], [label_row(90)])
    index.add([vector_row(n) for n in (70, 60)], [label_row(70)])
    monkeypatch.setattr(time, "time", lambda: 1.0)
    index = again(index, tmp_path)
    index.add([vector_row(n) for n in (10, 40)], [label_row(10)])
    for share, left in ((0.3, [10, 40, 60, 70]), (0.5, [10, 40])):
        assert retention(index).drop_first(share) == 3
        index = again(index, tmp_path)
        found = index.similar("m", unpack(vector_row(0).vector, DIMENSION), Where(), 1000)
        assert sorted(h.seq for h in found) == left
    assert retention(index).drop_first(1.0) == 3 and index.tables.count() == 0
    assert retention(index).drop_first(1.0) == 0
    index.add([vector_row(1)], [])
    assert index.tables.count() == 1


def test_an_index_of_an_older_version_stays_usable(tmp_path: Path) -> None:
    """Its rows do not tell when they were added: their times stand for that."""
    before = Index(str(tmp_path))
    before.add([vector_row(n) for n in range(4)], [label_row(0)])
    before.close()
    db = lancedb.connect(tmp_path)
    for name in db.list_tables(limit=100).tables:
        db.open_table(name).drop_columns(["added"])
    index = Index(str(tmp_path))
    index.add([vector_row(n) for n in (2, 9)], [])
    assert index.tables.count() == 6, "a row that is there is not added again"
    assert retention(index).drop_first(0.5) == 3 and retention(index).drop_first(0.6) == 2
    assert [h.seq for h in index.similar("m", unpack(vector_row(0).vector, DIMENSION), Where(), 10)] == [9]


@pytest.mark.slow
def test_an_index_of_codes_finds_the_results_of_exact_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits are so low that chunks are indexed in parts and rebuilt when full, with reads in between."""
    low = msgspec.structs.replace(chunk.TUNING, exact=5, fresh=400, most_files=4, most_parts=3)
    monkeypatch.setattr(chunk, "TUNING", low)
    index = Index(str(tmp_path), vectors=1500)
    rows = [vector_row(n) for n in range(4000)]
    stop, problems = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            try:
                index.similar("m", unpack(rows[7].vector, DIMENSION), Where(), 5)
            except Exception as e:
                problems.append(e)

    reader = threading.Thread(target=read)
    reader.start()
    for first in range(0, 4000, 100):
        index.add(rows[first : first + 100], [])
        if first % 300 == 0:
            retention(index).tidy()
    retention(index).tidy()
    stop.set()
    reader.join()
    assert problems == []
    recalls = []
    for seed in range(30):
        query = normalise(np.random.default_rng(seed).normal(size=DIMENSION).astype(np.float32))
        where = Where(cameras=["a"], since=100_000) if seed % 2 else Where()
        found = [h.id for h in index.similar("m", query, where, 10)]
        recalls.append(len(set(found) & {id for _, id in nearest(rows, query, where, 10)}) / 10)
    assert np.mean(recalls) > 0.95
    tables = {p.stem for p in tmp_path.glob("*.lance")}
    assert len(tables) == 3, "4000 rows in chunks of 1500"


@pytest.mark.parametrize("dimension", [1, 12, 16])
def test_vectors_of_any_dimension_are_compacted_and_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dimension: int
) -> None:
    """LanceDB's index of codes takes multiples of eight alone."""
    low = msgspec.structs.replace(chunk.TUNING, exact=5, fresh=400)
    monkeypatch.setattr(chunk, "TUNING", low)
    index = Index(str(tmp_path))
    rows = [
        msgspec.structs.replace(vector_row(n), dimension=dimension, vector=vector_row(n).vector[: 2 * dimension])
        for n in range(500)
    ]
    index.add(rows, [])
    retention(index).tidy()
    (best,) = index.similar("m", unpack(rows[7].vector, dimension), Where(seqs=[7]), 1)
    assert best.seq == 7


def test_a_chunk_that_cannot_be_compacted_blocks_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk, "TUNING", msgspec.structs.replace(chunk.TUNING, kept_versions=dt.timedelta(0)))
    index = Index(str(tmp_path))
    for n in range(40):
        index.add([vector_row(n, "a"), vector_row(n, "b")], [])
    shutil.rmtree(tmp_path / f"vectors.a.{DIMENSION}.00000000.lance" / "data")
    before = len(list(tmp_path.glob(f"vectors.b.{DIMENSION}.*/data/*")))
    with pytest.raises(Exception, match=r"(?i)not found"):
        retention(index).tidy(force=True)
    assert len(list(tmp_path.glob(f"vectors.b.{DIMENSION}.*/data/*"))) < before


def test_a_model_is_forgotten_with_its_last_vector(tmp_path: Path) -> None:
    index = Index(str(tmp_path))
    index.add([vector_row(n, f"made-up-{n}") for n in range(3)], [])
    index.add([vector_row(100)], [label_row(0)])
    assert len(index.models()) == 4
    assert retention(index).drop_before(50_000) == 4
    assert index.models() == {("m", DIMENSION)} and not index.known_labels()
    assert [p.name for p in tmp_path.glob("*.lance")] == [f"vectors.m.{DIMENSION}.00000000.lance"]
    index.add([vector_row(1, "made-up-1"), vector_row(101)], [label_row(1)])
    assert index.tables.count() == 4 and index.known_labels()


def test_the_number_of_named_labels_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk, "TUNING", msgspec.structs.replace(chunk.TUNING, most_labels=5))
    index = Index(str(tmp_path))
    many = [msgspec.structs.replace(label_row(n), id=f"{n}", label=f"label {n}") for n in range(9)]
    index.add([], many)
    assert index.known_labels() == {f"label {n}" for n in range(5)}
    assert [h.label for h in index.labelled(Where(labels=["label 8"]), 9)] == ["label 8"]


def test_clear_forgets_everything(tmp_path: Path) -> None:
    index = Index(str(tmp_path))
    index.tables.begin("one")
    index.add([vector_row(1)], [label_row(1)])
    index = again(index, tmp_path)
    assert index.tables.origin == "one"
    index.tables.clear()
    assert (index.tables.count(), index.tables.origin, index.known_labels()) == (0, "", frozenset())
    index.tables.begin("two")
    index.add([vector_row(2)], [])
    index = again(index, tmp_path)
    assert (index.tables.count(), index.tables.origin) == (1, "two")


def test_an_index_from_before_runs_upgrades_and_downgrades(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables lacked a column: what is added goes into new ones, and the version before takes those as they are."""

    def old() -> None:
        fewer = [field for field in index._COLUMNS if field.name != "run"]
        monkeypatch.setattr(index, "_COLUMNS", fewer)
        monkeypatch.setattr(index, "_NAMES", [field.name for field in fewer])

    def with_index(*numbers: int, run: str | None = None) -> dict[int, str | None]:
        opened = Index(str(tmp_path))
        rows = [msgspec.structs.replace(vector_row(n), run=run) for n in numbers]
        opened.add(rows, [msgspec.structs.replace(label_row(n), run=run) for n in numbers])
        found = {hit.seq: hit.run for hit in opened.similar("m", unpack(rows[0].vector, DIMENSION), Where(), 100)}
        labelled = opened.labelled(Where(labels=["person", "dog"]), 100)
        assert {hit.seq: hit.run for hit in labelled} == found and len(labelled) == len(found)
        if "run" in index._NAMES:
            for one in {*found.values()} - {None}:
                of = {seq for seq, run in found.items() if run == one}
                where = Where(runs=[str(one)])
                assert {h.seq for h in opened.similar("m", unpack(rows[0].vector, DIMENSION), where, 100)} == of
                assert {h.seq for h in opened.labelled(where, 100)} == of
        opened.close()
        return found

    with monkeypatch.context():
        old()
        assert with_index(1, 2) == {1: None, 2: None}
        monkeypatch.undo()
    assert with_index(2, 3, run="again") == {1: None, 2: None, 3: "again"}
    old()
    assert with_index(3, 4) == dict.fromkeys((1, 2, 3, 4))
    monkeypatch.undo()
    assert with_index(5, run="later") == {1: None, 2: None, 3: "again", 4: None, 5: "later"}


def test_vectors_of_an_event_are_stored_all_or_none(tmp_path: Path) -> None:
    """An analysis of other frames of a segment has other vectors under the same numbers."""
    held = Index(str(tmp_path))
    live = vector_row(1)
    held.add([live], [])
    other = [msgspec.structs.replace(vector_row(2), id=f"embed/m/MEDIA/1#{n}", seq=1, time=1000 + n) for n in range(3)]
    held.add(other, [])
    assert held.tables.count() == 1
    held.add([msgspec.structs.replace(row, id=row.id.replace("/1#", "/11#")) for row in other], [])
    assert held.tables.count() == 4
    # The same holds if both come together; each label is there.
    row = [msgspec.structs.replace(one, id=one.id.replace("/1#", "/12#")) for one in other]
    past = [msgspec.structs.replace(one, run="again") for one in row]
    label = label_row(50)
    labels = [label, *(msgspec.structs.replace(label, id=id, run="again") for id in (label.id, f"{label.id}-other"))]
    held.add([row[0], *past], labels)
    assert held.tables.count() == 4 + 1 + 2
    found = held.similar("m", unpack(row[0].vector, DIMENSION), Where(), 100)
    assert [hit.run for hit in found] == [None] * 5
    assert sorted(str(hit.run) for hit in held.labelled(Where(labels=[str(label.label)]), 100)) == ["None", "again"]
    held.close()
