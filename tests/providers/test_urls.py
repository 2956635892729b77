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
        "http://my_host:8000/v1",
        "http://localhost.:80",
        "http://[fe80::1%25eth0]:80",
        "http://xn--mnchen-3ya.example",
        "http://1.2.3.4",
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
        ("https://example.com:99999", "its port is no number from 1 to 65535"),
        ("https://example.com:0", "port 0 cannot be called"),
        ("https://[::1", "Write it like"),
        ("http:/x", "has no host"),
        ("https:example.com", "has no host"),
        ("https://example.com:", "ends with a colon. Put a port behind it"),
        ("http://http://x", "ends with a colon"),
        *[
            (f"https://example.com:{port}", "its port is no number")
            for port in ("-1", "8x", "+80", "8_0", "٨٠")
        ],
        *[
            (f"https://{host}/v1", "begins with 'xn--'")
            for host in ("exam。ple.com", "ｅxample.com", "еxample.com", "münchen.example")
        ],
        *[
            (f"https://{host}", "its host is no name")
            for host in (
                *(
                    "exa%6dple.com",
                    "exa<mple>.com",
                    'exa"mple.com',
                    "a..b",
                    ".x",
                    "-x.com",
                    "x-.com",
                    "*.x.com",
                ),
                *(
                    "a" * 64 + ".com",
                    "a." * 130 + "com",
                    "a,b.com",
                    "a;b",
                    "{host}",
                    "$HOST",
                    "<resource>.x.com",
                ),
            )
        ],
        ("http://256.1.1.1", "its host is no IP address"),
        ("http://1.2.3", "its host is no IP address"),
        ("https://[::1]x/", "only a port can follow the brackets"),
        ("https://[::g]/", "Write it like"),
        ("https://[1.2.3.4]/", "Write it like"),
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
    "url", ["https://sk-proj-0123456789abcdef.com", "sk-proj-0123456789abcdef", "gsk_0123456789abcdef"]
)
def test_a_key_in_the_address_is_refused_and_not_quoted(url: str):
    with pytest.raises(ValueError, match=r"this is a key|What looks like a key is not a URL") as caught:
        check_url(url)
    assert "0123456789" not in str(caught.value)


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
