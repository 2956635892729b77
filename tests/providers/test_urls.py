"""Base URLs."""

from __future__ import annotations

import pytest

from orchstate.providers.urls import check_url, origin


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/v1",
        "https://api.example.com/v1/",
        "http://[::1]:8080",
        "https://example.com/users/@me?x=a@b",
        "HTTPS://EXAMPLE.com",
        "https://example.com/v1?api-version=2024-10-21&max_tokens=5",
    ],
)
def test_a_callable_address_is_kept_as_it_is(url: str):
    assert check_url(url) == url


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("api.example.com", "has to begin with http:// or https://"),
        ("file:///etc/passwd", "has to begin with http:// or https://"),
        ("https://", "has no host"),
        ("https://:8000", "has no host"),
        ("https://exa mple.com", "has a space or line break in it. Remove it"),
        ("https://example.com/v1\n", "has a space or line break in it"),
        ("https://example.com\\v1", "backslashes and invisible characters"),
        ("https://exam\u200bple.com", "backslashes and invisible characters"),
        ("https://example.com:99999", "port out of range"),
        ("https://example.com:0", "port 0 cannot be called"),
        ("https://[::1", "Write it like"),
        ("x" * 200, r"'xxx.*'\.\.\. is not a URL"),
    ],
)
def test_what_cannot_be_called_is_refused_with_the_value_and_the_rule(url: str, message: str):
    with pytest.raises(ValueError, match=message):
        check_url(url)


@pytest.mark.parametrize(
    "url", ["https://me:pass@example.com", "https://me@example.com", "me:pass@example.com"]
)
def test_a_password_is_refused_and_not_quoted(url: str):
    with pytest.raises(ValueError, match="must not hold a user name or password") as caught:
        check_url(url)
    assert "pass@" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/v1?api_key=sk-LEAK",
        "http://example.com/v1?a=1&access%5Ftoken=sk-LEAK",
        "http://example.com/v1#token=sk-LEAK",
        "http://example .com/v1?key=sk-LEAK",
    ],
)
def test_a_key_among_the_parameters_is_refused_and_not_quoted(url: str):
    with pytest.raises(
        ValueError, match=r"must not hold a key among its parameters.*into the key field"
    ) as caught:
        check_url(url)
    assert "LEAK" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://API.Example.com/v1", "https://api.example.com"),
        ("http://example.com:80", "http://example.com"),
        ("http://[::1]:8080/x", "http://[::1]:8080"),
    ],
)
def test_the_origin_is_what_a_key_is_sent_to(url: str, expected: str):
    assert origin(url) == expected
