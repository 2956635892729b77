"""Pieces: what is long in a text stands once, by the hash of its content, however often it is stored.

A text over the limit is stored without its long values: each is named by its hash, and cut
into pieces where its own content says so. After an edit of it only the pieces around the
edit are new; all others are those of the revision before. Field names and short values stay
in the text, so that they can be searched.

Nobody else sees any of this: what is read is the whole text, byte for byte. A piece is
verified when it is read. A text of which one is missing or damaged comes as it is stored,
which the sum of its row then tells from what it should be.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from orchstate.storage.connection import fetch

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from orchstate.storage.connection import Query

# Characters up to which a text, and a value in a longer one, is left alone.
LIMIT: Final = 4096
# JSON of ours never begins with a space, and to everybody else it is JSON all the same.
_MARK: Final = " "
_NAME: Final = '"$pieces":'
_REFERENCE: Final = re.compile(r'\{"\$pieces":"([0-9a-f]{32})"\}')
_LITERAL: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)

# A cut may come behind these bytes, which every script and encoding has some of, and comes where the
# bytes before it have a checksum that one in 64 has: that does not change with what stands elsewhere.
_CANDIDATE: Final = re.compile(rb"[.7kvKV\x82\x92\xa2\xb2]")
_WINDOW: Final = 24
_ONE_IN: Final = 64
_SHORTEST, _LONGEST = 2048, 16 * 1024
# So many pieces, about, are named together, so that a long value with an edit needs no new list of all.
_TOGETHER: Final = 32
_DEEPEST: Final = 8
# No text of SQLite's is longer; keeps a forged file from asking for more memory than there is.
_MOST_BYTES: Final = 1_000_000_000
_HASH_BYTES: Final = 16
# What is remembered of pieces that were read.
_CACHE_BYTES: Final = 8 * 1024 * 1024
_MOST_VERIFIED: Final = 100_000
# Each takes some seconds.
_MOST_MENDED: Final = 8

_SELECT: Final = "SELECT data FROM piece WHERE hash = ?"
_INSERT: Final = "INSERT OR REPLACE INTO piece VALUES (?, ?)"
_decode = json.JSONDecoder().raw_decode


class _DamageError(Exception):
    """A piece is missing, or is not what its name says."""


class Pieces:
    """The long values of one store: put into pieces when written, and made whole when read."""

    def __init__(self) -> None:
        self._read: dict[bytes, bytes] = {}
        self._read_bytes = 0
        # What is there was seen to be sound, or written by us.
        self._verified: set[bytes] = set()

    def packed(self, connection: sqlite3.Connection, text: str) -> str:
        """Return what to store for a JSON text, and write the pieces that are not there yet.

        Called within the transaction that stores it.
        """
        if len(text) <= LIMIT or _NAME in text:
            return text
        put = _Packing(self, connection).put
        short = _LITERAL.sub(lambda found: put(found[0]) if len(found[0]) > LIMIT else found[0], text)
        if len(short) > LIMIT:
            short = _without_long_values(short, put)
        return _MARK + short if short != text else text

    def whole(self, query: Query, stored: str) -> str:
        """Return the text that is stored; it comes as it is stored where a piece of it is damaged."""
        if not is_packed(stored):
            return stored
        try:
            return self._filled(query, stored[len(_MARK) :])
        except _DamageError:
            return stored

    def _filled(self, query: Query, short: str) -> str:
        def value(found: re.Match[str]) -> str:
            text = self.content(query, bytes.fromhex(found[1])).decode(errors="surrogatepass")
            # A long list or object may itself hold long values; a literal holds itself alone.
            return text if text.startswith('"') else self._filled(query, text)

        return _REFERENCE.sub(value, short)

    def content(self, query: Query, key: bytes, depth: int = 0) -> bytes:
        """Return the bytes that a hash stands for."""
        known = self._read.get(key)
        if known is not None:
            return known
        kind, data = _stored(query, key, depth)
        if kind == b"g" and hash_of(kind + data) != key:
            raise _DamageError
        is_list = kind in (b"g", b"n")
        content = b"".join(self._parts(query, hashes_in(data), depth + 1)) if is_list else data
        if kind != b"g" and hash_of(content) != key:
            raise _DamageError
        self._remember(key, content)
        return content

    def _parts(self, query: Query, keys: Iterable[bytes], depth: int) -> Iterator[bytes]:
        total = 0
        for key in keys:
            part = self.content(query, key, depth)
            total += len(part)
            if total > _MOST_BYTES:
                raise _DamageError
            yield part

    def _remember(self, key: bytes, content: bytes) -> None:
        self._read_bytes += len(content)
        if self._read_bytes > _CACHE_BYTES:
            self._read, self._read_bytes = {}, len(content)
        self._read[key] = content
        self.know(key)

    def know(self, key: bytes) -> None:
        """Take what is stored under a hash for sound."""
        if len(self._verified) >= _MOST_VERIFIED:
            self._verified = set()
        self._verified.add(key)

    def forget(self) -> None:
        """Look at everything anew when it is next needed: it may have been damaged since."""
        self._read, self._read_bytes, self._verified = {}, 0, set()

    def is_there(self, connection: sqlite3.Connection, key: bytes) -> bool:
        """Whether what a hash stands for is stored, and sound."""
        # Others may have removed what nobody needed, so what is known is not enough.
        if not connection.execute("SELECT 1 FROM piece WHERE hash = ?", [key]).fetchone():
            return False
        if key not in self._verified:
            try:
                self.content(partial(fetch, connection), key)
            except _DamageError:
                return False
        return True


class Reader:
    """A way to read rows, and the pieces that their long texts are in.

    Parameters
    ----------
    query
        Returns the rows of a reading SQL statement.
    pieces
        What is known of the store's pieces; None to look at each anew.
    """

    def __init__(self, query: Query, pieces: Pieces | None = None) -> None:
        self._query = query
        self._pieces = pieces or Pieces()

    def __call__(self, sql: str, values: Sequence[Any] = ()) -> Sequence[tuple[Any, ...]]:
        """Return the rows of a statement as they are stored."""
        return self._query(sql, values)

    def whole(self, stored: str) -> str:
        """Return the text that is stored, see :meth:`Pieces.whole`."""
        return self._pieces.whole(self._query, stored)

    def named_by(self, key: bytes) -> Iterator[bytes]:
        """Yield what a hash's content is made of: its pieces, and long values that it was stored without."""
        for (data,) in self._query(_SELECT, [key]):
            if data[:1] in (b"g", b"n"):
                yield from hashes_in(data[1:])
            content = self._pieces.content(self._query, key)
            if not content.startswith(b'"'):
                yield from hashes_named_in(content.decode(errors="replace"))


def unneeded(read: Reader, texts: Iterable[str]) -> list[bytes]:
    """Return the hashes of what is stored, and none of these stored texts is made of."""
    needed: set[bytes] = set()
    waiting = {key for text in texts for key in hashes_named_in(text)}
    while waiting:
        key = waiting.pop()
        needed.add(key)
        waiting |= set(read.named_by(key)) - needed
    return [key for (key,) in read("SELECT hash FROM piece") if key not in needed]


def mend(stored: dict[bytes, bytes]) -> None:
    """Put right what a single changed bit has made of pieces by their hash, or of their hashes.

    What has the hash that it is stored under is what was stored: so this mends, or does nothing.
    """
    broken = [key for key, data in stored.items() if _name_of(data) not in (key, b"")]
    for key in broken[:_MOST_MENDED]:
        data = stored[key]
        # If it was the hash that has changed, this is the right one.
        stored.setdefault(_name_of(data) or key, data)
        for tried in _one_bit_apart(data):
            if _name_of(tried) == key:
                stored[key] = tried
                break


def _one_bit_apart(data: bytes) -> Iterator[bytes]:
    for at, byte in enumerate(data):
        for bit in range(8):
            yield data[:at] + bytes([byte ^ 1 << bit]) + data[at + 1 :]


def _name_of(data: bytes) -> bytes | None:
    """Return the hash of what is in one row; ``b""`` if that takes other rows, None if it has none."""
    kind, content = data[:1], data[1:]
    if kind == b"z":
        try:
            return hash_of(zlib.decompressobj().decompress(content, _LONGEST + 1))
        except zlib.error:
            return None
    return {b"t": hash_of(content), b"g": hash_of(data), b"n": b""}.get(kind)


class _Packing:
    """One text on its way into pieces."""

    def __init__(self, pieces: Pieces, connection: sqlite3.Connection) -> None:
        self._pieces = pieces
        self._connection = connection

    def put(self, value: str) -> str:
        """Store a long value, and return what stands for it in its text."""
        content = value.encode(errors="surrogatepass")
        key = hash_of(content)
        if not self._is_there(key):
            self._put_content(key, cut(content))
        return f'{{{_NAME}"{key.hex()}"}}'

    def _put_content(self, key: bytes, parts: list[bytes]) -> None:
        if len(parts) == 1:
            self._put(key, _compressed(parts[0]))
            return
        keys = [self._put_piece(part) for part in parts]
        while len(keys) > 2 * _TOGETHER:
            keys = [self._put_group(b"g" + b"".join(keys[start:end])) for start, end in _groups(keys)]
        self._put(key, b"n" + b"".join(keys))

    def _put_piece(self, content: bytes) -> bytes:
        key = hash_of(content)
        if not self._is_there(key):
            self._put(key, _compressed(content))
        return key

    def _put_group(self, stored: bytes) -> bytes:
        key = hash_of(stored)
        if not self._is_there(key):
            self._put(key, stored)
        return key

    def _is_there(self, key: bytes) -> bool:
        return self._pieces.is_there(self._connection, key)

    def _put(self, key: bytes, stored: bytes) -> None:
        self._connection.execute(_INSERT, [key, stored])
        self._pieces.know(key)


def is_packed(stored: object) -> bool:
    """Whether what is stored is a text without its long values."""
    return stored.__class__ is str and stored.startswith(_MARK)


def hashes_named_in(stored: str) -> Iterator[bytes]:
    """Yield the hashes of the values that a stored text was stored without."""
    return (bytes.fromhex(found[1]) for found in _REFERENCE.finditer(stored))


def hashes_in(node: bytes) -> Iterator[bytes]:
    """Yield the hashes that are named together."""
    return (node[at : at + _HASH_BYTES] for at in range(0, len(node), _HASH_BYTES))


def hash_of(content: bytes) -> bytes:
    """Return what names a content."""
    return hashlib.blake2b(content, digest_size=_HASH_BYTES).digest()


def cut(content: bytes) -> list[bytes]:
    """Return the pieces of a content; equal stretches of two contents have nearly all of them in common.

    Examples
    --------
    >>> text = "".join(f"{number} green bottles. " for number in range(10_000)).encode()
    >>> before, after = cut(text), cut(b"Sing: " + text)
    >>> len(before) > 10, len(set(after) - set(before))
    (True, 1)
    """
    pieces = []
    start = 0
    while len(content) - start > _SHORTEST:
        end = _next_cut(content, start + _SHORTEST, min(start + _LONGEST, len(content)))
        pieces.append(content[start:end])
        start = end
    return [*pieces, content[start:]] if start < len(content) else pieces


def _next_cut(content: bytes, first: int, last: int) -> int:
    checksum = zlib.crc32
    for found in _CANDIDATE.finditer(content, first, last):
        at = found.end()
        if checksum(content[at - _WINDOW : at]) % _ONE_IN == 0:
            return at
    return last


def _groups(keys: list[bytes]) -> list[tuple[int, int]]:
    """Return which neighbours are named together: where one ends is said by its own hash."""
    ends = [at for at, key in enumerate(keys, 1) if key[0] % _TOGETHER == 0 and at < len(keys)]
    return list(pairwise([0, *ends, len(keys)]))


def _without_long_values(text: str, put: Callable[[str], str]) -> str:
    """Return a JSON object or array without those of its values that are long."""
    try:
        spans = [(start, end) for start, end in _values(text) if end - start > LIMIT]
    except ValueError:
        # It is not JSON of ours, so it is left alone.
        return text
    for start, end in reversed(spans):
        text = text[:start] + put(text[start:end]) + text[end:]
    return text


def _values(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each value of a JSON object or array begins and ends."""
    at = 1
    while text[at : at + 1] not in ("", "}", "]"):
        if text[0] == "{":
            at = _decode(text, at)[1] + 1
        end = _decode(text, at)[1]
        yield at, end
        at = end + (text[end : end + 1] == ",")


def _compressed(content: bytes) -> bytes:
    packed = zlib.compress(content, 1)
    return b"z" + packed if len(packed) < len(content) else b"t" + content


def _stored(query: Query, key: bytes, depth: int) -> tuple[bytes, bytes]:
    """Return the kind and the bytes of one row.

    The kinds are a piece, plain (t) or compressed (z); a content, by the hashes of its pieces (n); and a
    group of such hashes (g), which is named by the hash of its list, since its content is verified in parts.
    """
    found = query(_SELECT, [key])
    if not found or depth > _DEEPEST or not isinstance(found[0][0], bytes):
        raise _DamageError
    data = found[0][0]
    kind, content = data[:1], data[1:]
    if kind == b"z":
        try:
            return kind, zlib.decompressobj().decompress(content, _LONGEST + 1)
        except zlib.error as error:
            raise _DamageError from error
    return kind, content
