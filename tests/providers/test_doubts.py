"""What is allowed and most likely wrong is told as a warning."""

from __future__ import annotations

import pytest

from orchstate.providers.doubts import doubts
from tests.providers.definitions import document, lab


@pytest.mark.parametrize("call", ["/chat/completions", "/responses", "/api/chat/"])
def test_the_path_of_one_call_does_not_belong_to_the_base_url(call: str) -> None:
    (issue,) = doubts(document(lab(), base_url=f"http://127.0.0.1:8000/v1{call}"))
    assert (issue.field, issue.level) == ("base_url", "warning")
    assert issue.message.startswith(f"{call!r} at the end is the path of one call")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000/v1", "http://messages/v1", "https://a/completions/v1"]
)
def test_a_base_url_is_no_reason_for_doubt(url: str) -> None:
    assert doubts(document(lab(), base_url=url)) == ()
