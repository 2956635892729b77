"""Long texts: equal parts stand once, what is read is exact, and damage of a part is detected."""

from __future__ import annotations

import base64
import json
import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import pytest
from contract.engine import names, outcomes
from contract.notes import created, decide, id_of, intent, updated
from hypothesis import given, settings
from hypothesis import strategies as st

from orchstate.errors import CorruptStoreError
from orchstate.models.canonical import canonical
from orchstate.storage.pieces import LIMIT, Pieces, cut, hashes_in, hashes_named_in, is_packed
from orchstate.storage.sqlite import SqliteEngine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from orchstate.storage.placement import JournalMode

MB: Final = 1_000_000


def prose(size: int, *, between: str = " ", seed: int = 1) -> str:
    """Return sentences, with a line break between them or none."""
    luck = random.Random(seed)
    words = ["".join(luck.choices("etaoinshrdlucmfwypvbgkjqxz", k=luck.randint(2, 9))) for _ in range(3000)]
    sentences: list[str] = []
    while sum(map(len, sentences[-1:])) + size > 0:
        sentences.append(" ".join(luck.choices(words, k=luck.randint(5, 20))).capitalize() + ".")
        size -= len(sentences[-1]) + 1
    return between.join(sentences)


# -- in pieces and whole again --------------------------------------------------------------


class Table:
    """The pieces of one database."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:")
        self.connection.execute("CREATE TABLE piece (hash BLOB NOT NULL UNIQUE, data BLOB NOT NULL)")

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql, values).fetchall()

    def packed(self, text: str) -> str:
        return Pieces().packed(self.connection, text)

    def whole(self, stored: str) -> str:
        return Pieces().whole(self.query, stored)

    def count(self) -> int:
        ((count,),) = self.query("SELECT count(*) FROM piece")
        return int(count)


@pytest.fixture
def table() -> Iterator[Table]:
    table = Table()
    with closing(table.connection):
        yield table


long_texts = st.builds(
    lambda piece, times, end: piece * times + end,
    st.text(min_size=1, max_size=30),
    st.integers(1, 2500),
    st.text(max_size=30),
)
values = st.recursive(
    st.none() | st.integers() | st.text(max_size=9) | long_texts,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=9) | st.just("$pieces"), inner, max_size=4)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.text(max_size=9), values, max_size=4) | st.lists(values, max_size=4))
@settings(max_examples=200, deadline=None)
def test_every_json_text_comes_back_exactly(value: Any) -> None:
    table = Table()
    with closing(table.connection):
        text = canonical(value)
        stored = table.packed(text)
        assert table.whole(stored) == text
        assert len(text) > LIMIT or stored == text


@given(st.binary(max_size=200), st.integers(0, 999), st.binary(max_size=50))
@settings(deadline=None)
def test_the_pieces_of_a_content_are_the_content(start: bytes, times: int, end: bytes) -> None:
    content = start * times + end
    assert b"".join(cut(content)) == content
    assert max(map(len, cut(content)), default=0) <= 16 * 1024


def test_short_values_stay_in_their_text(table: Table) -> None:
    stored = table.packed(canonical({"a": 1, "text": "x" * LIMIT * 2, "z": ["short"]}))
    assert is_packed(stored)
    assert stored.startswith(' {"a":1,"text":{"$pieces":"')
    assert stored.endswith('"},"z":["short"]}')


def test_a_long_list_of_short_values_is_long_too(table: Table) -> None:
    examples = [{"question": f"What is {n}?", "answer": f"It is {n}."} for n in range(1000)]
    text = canonical({"examples": examples, "temperature": 0.5})
    stored = table.packed(text)
    assert len(stored) < 100
    assert table.whole(stored) == text
    before = table.count()
    table.packed(text.replace("What is 500?", "What is five hundred?"))
    assert table.count() - before <= 3


def test_a_text_that_looks_like_one_without_its_values_is_left_whole(table: Table) -> None:
    text = canonical({"a": {"$pieces": "0" * 32}, "b": "x" * LIMIT * 2})
    assert table.packed(text) == table.whole(text) == text


ALPHABETS: Final = {
    "prose": prose(200_000),
    "lines": prose(200_000, between="\n"),
    "base64": base64.b64encode(random.Random(1).randbytes(150_000)).decode(),
    "Chinese": "".join(map(chr, random.Random(1).choices(range(0x4E00, 0x5FFF), k=70_000))),
    "Russian": "".join(random.Random(1).choices("оеаинтсрвлкмдпуяызбг ", k=100_000)),
    "numbers": ", ".join(str(random.Random(1).random() * n) for n in range(10_000)),
}


@pytest.mark.parametrize("alphabet", ALPHABETS)
@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_an_edit_changes_only_the_pieces_around_it(alphabet: str, place: float) -> None:
    text = ALPHABETS[alphabet]
    at = round(place * len(text))
    before = cut(text.encode())
    after = cut((text[:at] + "An edit." + text[at:]).encode())
    new = set(after) - set(before)
    assert len(before) > 10
    assert sum(map(len, new)) <= 48 * 1024
    assert len(new) <= 3


# -- in a store -----------------------------------------------------------------------------


def edit_other(text: str, n: int) -> dict[str, Any]:
    return {"size": n}


def edit_end(text: str, n: int) -> dict[str, Any]:
    return {"text": f"{text} And {n}."}


def edit_start(text: str, n: int) -> dict[str, Any]:
    return {"text": f"{n}: {text}"}


def edit_middle(text: str, n: int) -> dict[str, Any]:
    at = random.Random(n).randrange(len(text))
    return {"text": f"{text[:at]} number {n} {text[at:]}"}


EDITS: Final = [edit_other, edit_end, edit_start, edit_middle]


def edited(path: Path, mode: JournalMode, text: str, edit: Any, count: int) -> list[str]:
    """Edit a note with a long text; return the texts that it had, by seq from 1."""
    texts = [text]
    with closing(SqliteEngine(path, mode=mode)) as engine:
        engine.commit("a", [intent(1, created("x", text=text))], decide)
        for n in range(2, count + 2):
            values = edit(texts[-1], n)
            engine.commit("a", [intent(n, updated("x", **values))], decide)
            texts.append(values.get("text", texts[-1]))
    return texts


def check_exact(path: Path, texts: list[str], step: int) -> None:
    with closing(SqliteEngine(path, read_only=True)) as engine:
        assert engine.check() == []
        for seq in range(1, len(texts) + 1, step):
            row = engine.snapshot(seq).get(id_of("x"))
            assert decoded(row.body)["text"] == texts[seq - 1]
        assert decoded(engine.snapshot().get(id_of("x")).body)["text"] == texts[-1]


def decoded(body: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(body)
    return found


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("between", [" ", "\n"], ids=["one line", "lines"])
def test_edits_of_a_long_text_cost_as_much_as_what_is_new(edit: Any, between: str, tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    texts = edited(path, "truncate", prose(300_000, between=between), edit, 20)
    assert path.stat().st_size < 300_000 + 20 * 19_000
    check_exact(path, texts, 5)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mode", ["truncate", "wal"])
@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("between", [" ", "\n"], ids=["one line", "lines"])
def test_a_thousand_edits_of_a_document_with_a_megabyte_stay_under_20_mb(
    mode: JournalMode, edit: Any, between: str, tmp_path: Path
) -> None:
    path = tmp_path / "store.db"
    texts = edited(path, mode, prose(MB, between=between), edit, 1000)
    assert path.stat().st_size < 20 * MB
    check_exact(path, texts, 100)


# -- damage ---------------------------------------------------------------------------------


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[SqliteEngine]:
    """Two notes with a long text each, which is changed once, and a short one."""
    with closing(SqliteEngine(tmp_path / "store.db")) as engine:
        notes = [created("x", text=prose(60_000)), created("y", text=prose(60_000, seed=2)), created("z")]
        engine.commit("a", [intent(n, note) for n, note in enumerate(notes, 1)], decide)
        engine.commit("a", [intent(4, updated("x", text=prose(60_000) + " The end."))], decide)
    with closing(SqliteEngine(tmp_path / "store.db")) as engine:
        yield engine


def pieces_of(engine: SqliteEngine, seq: int) -> set[bytes]:
    """Return the hashes of what the body of a revision is made of, and nothing else is."""
    used: dict[int, set[bytes]] = {}
    for number, body in engine.query("SELECT seq, body FROM rev"):
        waiting = list(hashes_named_in(body)) if is_packed(body) else []
        used[number] = set()
        while waiting:
            used[number].add(key := waiting.pop())
            ((data,),) = engine.query("SELECT data FROM piece WHERE hash = ?", [key])
            waiting += hashes_in(data[1:]) if data[:1] in b"gn" else ()
    return used[seq] - set().union(*(keys for number, keys in used.items() if number != seq))


def damage(engine: SqliteEngine, sql: str, *values: Any) -> None:
    assert engine.path
    with closing(sqlite3.connect(engine.path, isolation_level=None)) as other:
        other.execute(sql, values)


BROKEN: Final = {
    "gone": "DELETE FROM piece WHERE hash = ?",
    "cut": "UPDATE piece SET data = substr(data, 1, length(data) - 1) WHERE hash = ?",
    "changed": "UPDATE piece SET data = CAST(substr(data, 1, 9) || 'z' || substr(data, 11) AS BLOB) "
    "WHERE hash = ?",
    "no bytes": "UPDATE piece SET data = CAST(data AS TEXT) WHERE hash = ?",
    "empty": "UPDATE piece SET data = x'' WHERE hash = ?",
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_piece_makes_the_rows_damaged_that_need_it_and_no_others(
    how: str, engine: SqliteEngine, caplog: pytest.LogCaptureFixture
) -> None:
    for key in pieces_of(engine, 2):
        damage(engine, BROKEN[how], key)
    with pytest.raises(CorruptStoreError, match=r"note 'y' .* is damaged, so it is not used") as caught:
        engine.snapshot().get(id_of("y"))
    assert caught.value.ids == (id_of("y"),)
    assert names(engine.snapshot()) == names(engine.snapshot(4)) == ["x", "z"]
    assert [revision.row.seq for revision in engine.changes_since(0)] == [1, 3, 4]
    assert "note 'y'" in caplog.text
    assert [line for line in engine.check() if "'y'" not in line] == []
    assert len(engine.check()) == 2


def test_each_single_piece_counts(engine: SqliteEngine) -> None:
    for key in pieces_of(engine, 2):
        ((data,),) = engine.query("SELECT data FROM piece WHERE hash = ?", [key])
        damage(engine, BROKEN["gone"], key)
        assert len(engine.check()) == 2
        damage(engine, "INSERT INTO piece VALUES (?, ?)", key, data)
    assert engine.check() == []


@pytest.mark.parametrize("how", BROKEN)
def test_writing_a_text_again_mends_its_pieces(how: str, engine: SqliteEngine) -> None:
    for key in pieces_of(engine, 2):
        damage(engine, BROKEN[how], key)
    commit = engine.commit("b", [intent(1, created("w", text=prose(60_000, seed=2)))], decide)
    assert outcomes(commit) == {1: "committed"}
    assert decoded(engine.snapshot().get(id_of("w")).body)["text"] == prose(60_000, seed=2)
    assert engine.check() == []


def test_a_circle_of_pieces_is_damage(engine: SqliteEngine) -> None:
    (key,) = hashes_named_in(engine.query("SELECT body FROM rev WHERE seq = 2")[0][0])
    damage(engine, "UPDATE piece SET data = ? WHERE hash = ?", b"n" + key * 3, key)
    assert names(engine.snapshot(4)) == ["x", "z"]


def test_what_is_written_is_known_to_be_there_only_as_long_as_it_is(engine: SqliteEngine) -> None:
    text = prose(60_000, seed=3)
    engine.commit("b", [intent(1, created("v", text=text))], decide)
    damage(engine, "DELETE FROM piece")
    engine.commit("b", [intent(2, created("w", text=text))], decide)
    with closing(SqliteEngine(engine.path)) as other:
        assert decoded(other.snapshot().get(id_of("w")).body)["text"] == text


@pytest.mark.parametrize("how", BROKEN)
def test_what_was_read_before_is_verified_again_by_reread(how: str, engine: SqliteEngine) -> None:
    row = engine.snapshot().get(id_of("y"))
    assert row
    for key in pieces_of(engine, 2):
        damage(engine, BROKEN[how], key)
    assert engine.snapshot().get(id_of("y")) == row
    assert sorted(found.name for rows in engine.reread() for found in rows) == ["x", "z"]
    assert engine.damages
    # Nothing is built on them: what is written anew is whole.
    engine.commit("b", [intent(1, created("w", text=decoded(row.body)["text"]))], decide)
    with closing(SqliteEngine(engine.path)) as other:
        assert other.snapshot().get(id_of("y")) == row
        assert decoded(other.snapshot().get(id_of("w")).body)["text"] == decoded(row.body)["text"]


def test_a_long_text_of_an_earlier_format_stays_readable(engine: SqliteEngine) -> None:
    body = canonical({"name": "x", "text": "old " * 5000})
    row = engine.snapshot().get(id_of("x"))._replace(body=body)
    damage(engine, "UPDATE doc SET body = ?, checksum = ? WHERE id = ?", body, row.checksum(), row.id)
    assert engine.snapshot().get(id_of("x")) == row
