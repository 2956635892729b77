"""Pages: the rows in a SQLite file, read without SQLite, where its structure cannot be trusted any more.

Every page is read on its own, whatever leads to it: a leaf of a damaged tree is as good as
any other. Pages in the write-ahead log count too, in all their versions; of what was not
committed, in the log or with a rollback journal beside the file, nothing is read. What a
row says is not verified here: that is for those who know its checksum.

The format is SQLite's own (https://www.sqlite.org/fileformat2.html).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from orchstate.storage.placement import beside

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAGIC: Final = b"SQLite format 3\x00"
_USUAL_SIZE, _MAX_SIZE = 4096, 65536
# Pages that hold rows: leaves of tables, and leaves and inner pages of indexes and tables WITHOUT ROWID.
_TABLE_LEAF, _INDEX_LEAF, _INDEX_INNER = 0x0D, 0x0A, 0x02
_ROW_PAGES: Final = (_TABLE_LEAF, _INDEX_LEAF, _INDEX_INNER)
# Inner pages of tables, which have no rows.
_TABLE_INNER: Final = 0x05
_WAL_MAGIC: Final = (0x377F0682, 0x377F0683)
_WAL_HEAD, _FRAME_HEAD = 32, 24
_JOURNAL_MAGIC: Final = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
# Bytes of an integer by its kind.
_INTEGERS: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_REAL: Final = 7
# Bytes that the smallest cell takes, with the pointer to it.
_LEAST_CELL: Final = 6

Values = tuple[object, ...]


class Record(NamedTuple):
    """A row as it stands in a page.

    Parameters
    ----------
    rowid
        Its number; None in an index and in a table WITHOUT ROWID.
    values
        Its columns; text that is none comes with lone surrogates.
    """

    rowid: int | None
    values: Values


class LogPages(NamedTuple):
    """The pages in a write-ahead log.

    Parameters
    ----------
    pages
        Number and content of those that were committed, in the order in which they were written.
    is_damaged
        Whether something in it is damaged that was committed, or that comes before such.
    """

    pages: tuple[tuple[int, bytes], ...]
    is_damaged: bool


class JournalPages(NamedTuple):
    """The pages in a rollback journal, as they were before the transaction that was interrupted.

    Parameters
    ----------
    pages
        Content by number.
    size
        How many pages the file had; None if there was no transaction.
    is_damaged
        Whether a page or the head is damaged, so that SQLite would roll back a part only.
    """

    pages: dict[int, bytes]
    size: int | None
    is_damaged: bool


def records(path: Path) -> Iterator[Record]:
    """Yield what looks like a row anywhere in a file and in what SQLite left beside it.

    Called with the store's lock held, and without a connection to the file in this process.
    """
    data = _read(path)
    log, journal = read_log(beside(path, "-wal")), read_journal(beside(path, "-journal"))
    for reserved in dict.fromkeys((data[20] if data.startswith(MAGIC) else 0, 0)):
        yield from _Versions(data, log, journal, reserved).records()


def has_sound_head(path: Path) -> bool:
    """Whether the first bytes of a file are those that SQLite writes."""
    head = _read(path)[:100]
    if len(head) < 100 or not head.startswith(MAGIC):
        return False
    (size,), (form, encoding) = struct.unpack_from(">H", head, 16), struct.unpack_from(">I8xI", head, 44)
    is_usual = head[18] in (1, 2) and head[19] in (1, 2) and head[21:24] == b"\x40\x20\x20"
    return is_usual and (size == 1 or _is_size(size)) and form == 4 and encoding == 1


def version_in_head(path: Path) -> int:
    """Return the number that the user of a SQLite file gave its format, 0 if there is none."""
    return int(struct.unpack_from(">I", _read(path).ljust(64, b"\0"), 60)[0])


def read_log(path: Path) -> LogPages:
    """Return what is in a write-ahead log, of which SQLite would use what stands before the first damage."""
    data = _read(path)
    if len(data) < _WAL_HEAD + _FRAME_HEAD:
        return LogPages((), is_damaged=False)
    magic, _, size, _, salt, *total = struct.unpack_from(">IIII8sII", data)
    order = ">" if magic == _WAL_MAGIC[1] else "<"
    is_damaged = magic not in _WAL_MAGIC or _sum(data[:24], [0, 0], order) != total
    if is_damaged:
        size, salt = _USUAL_SIZE, data[_WAL_HEAD + 8 : _WAL_HEAD + 16]
    pages: list[tuple[int, bytes]] = []
    committed = last = 0
    first_bad = None
    for position in range(_WAL_HEAD, len(data) - _FRAME_HEAD - size + 1, _FRAME_HEAD + size):
        page = data[position + _FRAME_HEAD : position + _FRAME_HEAD + size]
        number, length, found_salt, *found = struct.unpack_from(">II8sII", data, position)
        # Each frame is summed up on top of the sum that stands in the one before, so one can be bad alone.
        is_sound = found_salt == salt and _sum(data[position : position + 8] + page, total, order) == found
        total = found
        if is_sound:
            pages.append((number, page))
            committed, last = (len(pages), position) if length else (committed, last)
        elif first_bad is None:
            first_bad = position
    # What is bad behind the last commit was torn by a crash, or is older than this log.
    is_damaged = (is_damaged and committed > 0) or (first_bad is not None and first_bad < last)
    return LogPages(tuple(pages[:committed]), is_damaged)


def read_journal(path: Path) -> JournalPages:
    """Return what is in a rollback journal; SQLite would take it back up to the first damage alone."""
    data = _read(path)
    pages: dict[int, bytes] = {}
    size: int | None = None
    position = 0
    while data[position : position + 8] == _JOURNAL_MAGIC and len(data) >= position + 28:
        count, nonce, length, sector, page_size = struct.unpack_from(">IIIII", data, position + 8)
        if not (_is_size(page_size) and 28 <= sector <= _MAX_SIZE):
            return JournalPages(pages, size, is_damaged=True)
        size = length if size is None else size
        position += sector
        for _ in range(count):
            page = data[position + 4 : position + 4 + page_size]
            if len(data) < position + page_size + 8:
                return JournalPages(pages, size, is_damaged=True)
            (number,) = struct.unpack_from(">I", data, position)
            (total,) = struct.unpack_from(">I", data, position + 4 + page_size)
            if total != _sample(page, nonce):
                return JournalPages(pages, size, is_damaged=True)
            pages.setdefault(number, page)
            position += page_size + 8
        # The next head begins a sector.
        position += -position % sector
    # The mark is written last, when all else is on the disk; until then the file itself is untouched.
    return JournalPages(pages, size, is_damaged=size is None and any(data[:8]))


class _Versions:
    """All versions of all pages of a file."""

    def __init__(self, data: bytes, log: LogPages, journal: JournalPages, reserved: int) -> None:
        (size,) = struct.unpack_from(">H", data.ljust(18, b"\0"), 16)
        self._size = _MAX_SIZE if size == 1 else size if _is_size(size) else _USUAL_SIZE
        self._usable = self._size - reserved
        self._log = log.pages
        self._pages: dict[int, list[bytes]] = {}
        for number in range(1, len(data) // self._size + (len(data) % self._size > 0) + 1):
            page = data[(number - 1) * self._size : number * self._size]
            if number in journal.pages:
                page = journal.pages[number]
            elif journal.size is not None and number > journal.size:
                continue
            self._pages[number] = [page.ljust(self._size, b"\0")]
        for number, page in log.pages:
            self._pages.setdefault(number, []).append(page)

    def records(self) -> Iterator[Record]:
        for number, versions in self._pages.items():
            for page in versions:
                yield from self._in_page(page, 100 if number == 1 else 0)

    def _in_page(self, page: bytes, start: int) -> Iterator[Record]:
        for kind in _kinds(page, start):
            first = start + (12 if kind == _INDEX_INNER else 8)
            (count,) = struct.unpack_from(">H", page, start + 3)
            for pointer in range(first, first + 2 * min(count, len(page) // _LEAST_CELL), 2):
                try:
                    (position,) = struct.unpack_from(">H", page, pointer)
                    yield from self._in_cell(page, position, kind)
                except (IndexError, struct.error, ValueError):
                    # What is no row in any way; what is a wrong one shows in its checksum.
                    continue

    def _in_cell(self, page: bytes, position: int, kind: int) -> Iterator[Record]:
        rowid = None
        length, position = _varint(page, position + (4 if kind == _INDEX_INNER else 0))
        if kind == _TABLE_LEAF:
            rowid, position = _varint(page, position)
        local = self._local(length, kind)
        if local == length:
            yield Record(rowid, _decoded(page[position : position + local]))
            return
        (next_page,) = struct.unpack_from(">I", page, position + local)
        for payload in self._overflown(page[position : position + local], length, next_page):
            yield Record(rowid, _decoded(payload))

    def _local(self, length: int, kind: int) -> int:
        """Return how many bytes of a payload stand in its own page."""
        usable = self._usable
        most = usable - 35 if kind == _TABLE_LEAF else (usable - 12) * 64 // 255 - 23
        if length <= most:
            return length
        least = (usable - 12) * 32 // 255 - 23
        wanted = least + (length - least) % (usable - 4)
        return wanted if wanted <= most else least

    def _overflown(self, begun: bytes, length: int, number: int) -> Iterator[bytes]:
        """Yield a payload with the oldest, and with the newest version of the pages that it goes on in."""
        if length > len(self._pages) * self._size:
            raise ValueError(f"a payload of {length} bytes")
        for version in (0, -1):
            payload, next_page = [begun], number
            left = length - len(begun)
            while left > 0 and next_page in self._pages:
                page = self._pages[next_page][version]
                payload.append(page[4 : 4 + min(left, self._usable - 4)])
                left -= len(payload[-1])
                (next_page,) = struct.unpack_from(">I", page)
            if left <= 0:
                yield b"".join(payload)


def _kinds(page: bytes, start: int) -> tuple[int, ...]:
    """Return what a page may be, of what has rows; with a damaged mark of its kind that is any."""
    if page[start] in _ROW_PAGES:
        return (page[start],)
    count, content = struct.unpack_from(">HH", page, start + 3)
    # The head of a page whose mark alone is damaged makes sense; that of a page of mere text does not.
    is_likely = 0 < count <= len(page) // _LEAST_CELL and 2 * count < content < len(page)
    return _ROW_PAGES if is_likely and page[start] != _TABLE_INNER and page[start + 7] <= 60 else ()


def _decoded(payload: bytes) -> Values:
    end, position = _varint(payload, 0)
    body, values = end, []
    while position < end:
        kind, position = _varint(payload, position)
        value, body = _value(payload, body, kind)
        values.append(value)
    return tuple(values)


def _value(payload: bytes, start: int, kind: int) -> tuple[object, int]:
    if kind in _INTEGERS:
        end = start + _INTEGERS[kind]
        return int.from_bytes(payload[start:end], signed=True), end
    if kind in (0, 8, 9):
        return (None, 0, 1)[max(0, kind - 7)], start
    if kind == _REAL:
        return struct.unpack_from(">d", payload, start)[0], start + 8
    end = start + (kind - 12) // 2
    if kind < 12 or end > len(payload):
        raise ValueError(f"a value of kind {kind}")
    raw = payload[start:end]
    return (raw.decode(errors="surrogateescape") if kind % 2 else raw), end


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for count in range(9):
        byte = data[position + count]
        if count == 8:
            value = value << 8 | byte
            # All nine bytes are a number with a sign.
            return (value - (1 << 64) if value >> 63 else value), position + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            break
    return value, position + count + 1


def _sum(data: bytes, start: list[int], order: str) -> list[int]:
    """Return the checksum of a write-ahead log, which goes on from the sum of what came before."""
    one, two = start
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for word, next_word in zip(words, words, strict=True):
        one = (one + word + two) & 0xFFFFFFFF
        two = (two + next_word + one) & 0xFFFFFFFF
    return [one, two]


def _sample(page: bytes, nonce: int) -> int:
    """Return the checksum of a rollback journal, which looks at one byte in 200."""
    return (nonce + sum(page[len(page) - 200 : 0 : -200])) & 0xFFFFFFFF


def _is_size(size: int) -> bool:
    return 512 <= size <= _MAX_SIZE and size & (size - 1) == 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
