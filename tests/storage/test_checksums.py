"""Checksums: what is stored is verified by them for ever, so they must not change."""

from __future__ import annotations

import pytest

from orchstate.models.intent import Origin
from orchstate.storage.engine import Revision, Row

ROW = Row("id", "config", "é\ud800", 2, 3, 1, 4, 5, "me", False, '{"a":1}', "writer", 0)
REVISION = Revision(ROW, "update", '{"a":[0,1]}', 6, 7, "txn", "label", Origin("me", "n.ipynb", "In [1]"), 8)


def test_the_sums_are_those_of_the_first_version() -> None:
    assert ROW.checksum().hex() == "514448ddeef406ac56da11bfb2a26cac"
    assert (
        REVISION.checksum().hex()
        == REVISION.checksum(ROW.checksum()).hex()
        == "3073a209f2585bb871a784bb25f522ed"
    )


@pytest.mark.parametrize("field", Row._fields)
def test_every_field_of_a_row_counts(field: str) -> None:
    value = getattr(ROW, field)
    other = ROW._replace(**{field: not value if field == "deleted" else value * 2 + type(value)(1)})
    assert other.checksum() != ROW.checksum()
