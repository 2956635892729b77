"""SDK clients: exactly a config's settings, and nothing from anywhere else."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import anthropic
import ollama
import openai
import pytest
from testbed.network import answering

from orchstate.clients.check import check
from orchstate.clients.connection import NO_KEY, Connection
from orchstate.clients.sdk import async_client, client
from orchstate.errors import MissingExtraError, ProviderError, SecretUnavailableError, ValidationError
from tests.clients.connections import KEY, REF, SDKS, connection, own_headers, spoken
from tests.providers.definitions import lab

if TYPE_CHECKING:
    from pathlib import Path

    from orchstate.models.secret import SecretRef
    from tests.clients.conftest import TlsServer

MODELS: dict[str, Any] = {"object": "list", "data": [{"id": "a"}], "models": [{"model": "a"}]}
AMBIENT = {
    "OPENAI_API_KEY": "ambient",
    "OPENAI_ADMIN_KEY": "ambient",
    "OPENAI_ORG_ID": "ambient",
    "OPENAI_PROJECT_ID": "ambient",
    "OPENAI_BASE_URL": "http://ambient.invalid",
    "OPENAI_CUSTOM_HEADERS": "X-Ambient: 1\nAuthorization: Bearer ambient\nx-mine: ambient",
    "ANTHROPIC_API_KEY": "ambient",
    "ANTHROPIC_AUTH_TOKEN": "ambient",
    "ANTHROPIC_BASE_URL": "http://ambient.invalid",
    "ANTHROPIC_CUSTOM_HEADERS": "X-Ambient: 1\nAuthorization: Bearer ambient\nX-Api-Key: ambient",
    "OLLAMA_API_KEY": "ambient",
    "OLLAMA_HOST": "http://ambient.invalid",
}


def list_models(api: Any) -> None:
    api.list() if isinstance(api, ollama.Client) else api.models.list()


async def alist_models(made: Connection) -> None:
    api = async_client(made)
    await (api.list() if isinstance(api, ollama.AsyncClient) else api.models.list())
    await api.close()


@pytest.mark.parametrize(
    ("provider", "kinds"),
    [
        ("openai", (openai.OpenAI, openai.AsyncOpenAI)),
        ("openai_compatible", (openai.OpenAI, openai.AsyncOpenAI)),
        ("anthropic", (anthropic.Anthropic, anthropic.AsyncAnthropic)),
        ("ollama", (ollama.Client, ollama.AsyncClient)),
    ],
)
def test_every_provider_gets_its_own_sdks_clients(provider: str, kinds: tuple[type, type]):
    made = connection(provider, base_url="http://127.0.0.1:1/v1")
    assert type(client(made)) is kinds[0]
    assert type(async_client(made)) is kinds[1]


def test_openai_gets_exactly_the_configs_settings():
    values = {"organization": "org-1", "project": "proj_1", "headers": {"X-Team": "blue"}}
    made = dataclasses.replace(connection("openai", timeout_ms=1_500, **values), retries=4)
    api = client(made)
    assert (api.api_key, api.organization, api.project) == (KEY, "org-1", "proj_1")
    assert (str(api.base_url), api.timeout, api.max_retries) == ("https://api.openai.com/v1/", 1.5, 4)
    assert api.default_headers["X-Team"] == "blue"


def test_anthropic_gets_exactly_the_configs_settings():
    made = dataclasses.replace(connection("anthropic", timeout_ms=1_500), retries=4)
    api = client(made)
    assert (api.api_key, api.auth_token) == (KEY, None)
    assert (str(api.base_url), api.timeout, api.max_retries) == ("https://api.anthropic.com", 1.5, 4)


def test_anthropics_token_is_sent_as_a_token_and_not_as_a_key():
    with answering(200, MODELS) as server:
        made = connection("anthropic", auth="auth_token", auth_token=REF, base_url=server.url)
        list_models(client(made))
    (headers,) = own_headers(server.requests)
    assert headers["authorization"] == f"Bearer {KEY}"
    assert "x-api-key" not in headers


def test_a_region_decides_where_openai_is():
    assert str(client(connection("openai", data_residency="eu")).base_url) == "https://eu.api.openai.com/v1/"


@pytest.mark.parametrize("provider", ["openai", "openai_compatible", "anthropic", "ollama"])
@pytest.mark.parametrize("key", [KEY, None], ids=["key", "no key"])
def test_nothing_from_the_environment_is_sent(
    provider: str, key: str | None, monkeypatch: pytest.MonkeyPatch
):
    if key is None and provider in ("openai", "anthropic"):
        provider = "openai_compatible"
    for name, value in AMBIENT.items():
        monkeypatch.setenv(name, value)
    with answering(200, MODELS) as server:
        made = connection(provider, key=key, base_url=server.url, headers={"X-Mine": "mine"})
        list_models(client(made))
        asyncio.run(alist_models(made))
    assert len(server.requests) == 2
    for headers in own_headers(server.requests):
        assert headers["authorization"] == f"Bearer {key or NO_KEY}"
        assert headers["x-mine"] == "mine"
        assert "x-ambient" not in headers and "ambient" not in str(headers)


def test_the_client_itself_shows_nothing_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    for name, value in AMBIENT.items():
        monkeypatch.setenv(name, value)
    api = client(connection("openai"))
    assert (api.organization, api.project, api.admin_api_key) == (None, None, None)


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_copy_of_the_client_takes_nothing_from_the_environment_either(
    provider: str, monkeypatch: pytest.MonkeyPatch
):
    for name, value in AMBIENT.items():
        monkeypatch.setenv(name, value)
    with answering(200, MODELS) as server:
        list_models(client(connection(provider, base_url=server.url)).with_options(max_retries=0))
    assert "ambient" not in str(own_headers(server.requests))


def test_without_a_key_a_server_gets_a_placeholder_and_never_nothing():
    with answering(200, MODELS) as server:
        list_models(client(connection("openai_compatible", key=None, base_url=server.url)))
    assert server.requests[0].headers["authorization"] == f"Bearer {NO_KEY}"


def test_a_required_key_that_is_not_set_makes_no_client():
    with pytest.raises(SecretUnavailableError, match="API key is not set"):
        client(connection("openai", key=None))


def test_ollama_without_a_key_ignores_one_that_is_set():
    with answering(200, MODELS) as server:
        list_models(client(connection("ollama", auth="local", base_url=server.url)))
    assert server.requests[0].headers["authorization"] == f"Bearer {NO_KEY}"


@pytest.mark.parametrize("provider", SDKS)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_carries_nothing_to_another_server(provider: str, status: int):
    with answering(200, MODELS) as other, answering(status, headers={"Location": other.url}) as server:
        made = connection(provider, base_url=server.url, headers={"X-Team": "blue"})
        result = check(made)
    assert (len(server.requests), other.requests) == (1, [])
    assert not result
    assert f"redirects to {other.url}. Redirects are not followed" in result.message
    assert "let gpt.base_url point to it" in result.message


def test_a_redirect_that_quotes_the_key_does_not_show_it():
    with answering(307, headers={"Location": f"http://127.0.0.1:1/?key={KEY}"}) as server:
        result = check(connection("openai", base_url=server.url))
    assert "redirects to http://127.0.0.1:1/?key=********." in result.message


def test_a_field_can_be_sent_in_a_header_of_its_own():
    fields = [
        {"name": "api_key", "type": "secret", "label": "Key", "header": "Api-Key"},
        {"name": "base_url", "type": "url", "label": "Base URL"},
        {"name": "team", "type": "text", "label": "Team", "header": "X-Team"},
    ]
    with answering(200, MODELS) as server:
        made = connection(lab(auth=[{"id": "k", "label": "Key", "fields": ["api_key"]}], fields=fields))
        values = {"base_url": server.url, "team": "blue"}
        list_models(client(dataclasses.replace(made, document=made.document.replaced(values))))
    (headers,) = own_headers(server.requests)
    assert (headers["api-key"], headers["x-team"]) == (KEY, "blue")
    assert headers["authorization"] == f"Bearer {NO_KEY}"


@pytest.mark.parametrize("provider", ["openai_compatible", "ollama"])
def test_a_certificate_that_nobody_signed_is_refused(provider: str, tls_server: TlsServer):
    result = check(connection(provider, base_url=tls_server.url))
    assert (result.ok, result.reason) == (False, "tls")
    assert "set gpt.ca_bundle_path to its certificate" in result.message


@pytest.mark.parametrize("provider", ["openai", "anthropic", "ollama", "openai_compatible"])
def test_a_certificate_that_the_config_names_is_trusted(provider: str, tls_server: TlsServer):
    made = connection(provider, base_url=tls_server.url, ca_bundle_path=str(tls_server.certificate))
    assert check(made).models == ("a",)
    asyncio.run(alist_models(made))


@pytest.mark.parametrize("provider", ["openai_compatible", "ollama"])
def test_verification_can_be_turned_off(provider: str, tls_server: TlsServer):
    assert check(connection(provider, base_url=tls_server.url, ssl_verify=False)).reason == "ok"


@pytest.mark.parametrize("tls_server", [True], indirect=True, ids=["client certificate"])
@pytest.mark.parametrize("ssl_verify", [None, False])
def test_a_client_certificate_is_shown(tls_server: TlsServer, ssl_verify: bool | None):
    own = str(tls_server.certificate)
    values = {"base_url": tls_server.url, "ca_bundle_path": own, "ssl_verify": ssl_verify}
    assert not check(connection("openai_compatible", **values))
    assert check(connection("openai_compatible", client_cert_path=own, **values))


@pytest.mark.parametrize(
    ("field", "content", "message"),
    [
        (
            "ca_bundle_path",
            None,
            r"ca_bundle_path '.*' cannot be used: No such file.*Name a readable PEM file",
        ),
        ("ca_bundle_path", "no certificate", r"ca_bundle_path '.*' cannot be used: .*Name a readable PEM"),
        ("client_cert_path", None, r"client_cert_path '.*' cannot be used: No such file"),
        ("client_cert_path", "no certificate", r"client_cert_path '.*' cannot be used: "),
    ],
)
def test_a_certificate_file_that_is_none_is_named(
    field: str, content: str | None, message: str, tmp_path: Path
):
    file = tmp_path / "x.pem"
    if content is not None:
        file.write_text(content)
    values = {field: str(file), "base_url": "https://127.0.0.1:1"}
    with pytest.raises(ValidationError, match=message) as caught:
        client(connection("openai_compatible", **values))
    assert KEY not in spoken(caught.value)


@pytest.mark.parametrize("name", SDKS)
def test_a_missing_sdk_is_named_with_the_pip_line(name: str, monkeypatch: pytest.MonkeyPatch):
    # None in sys.modules is how Python itself notes that a module cannot be imported.
    monkeypatch.setitem(sys.modules, name, None)
    message = rf"package '{name}'. Install it: pip install .orchstate\[{name}\]"
    with pytest.raises(MissingExtraError, match=message):
        client(connection(name))


def test_an_sdk_that_is_too_old_for_a_setting_is_named(monkeypatch: pytest.MonkeyPatch):
    class Anthropic:
        def __init__(self, *, api_key: str, base_url: str) -> None: ...

    Anthropic.__module__ = "anthropic._client"
    monkeypatch.setattr(anthropic, "Anthropic", Anthropic)
    message = r"installed version of 'anthropic' does not know .*profile.*pip install --upgrade anthropic"
    with pytest.raises(MissingExtraError, match=message):
        client(connection("anthropic", key=None, profile="work"))


def test_a_profile_that_is_not_there_is_an_error_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path))
    with pytest.raises(ProviderError, match="nowhere"):
        client(connection("anthropic", key=None, profile="nowhere"))


def test_a_key_that_cannot_be_read_is_an_error_without_a_client():
    def locked(ref: SecretRef) -> str:
        raise SecretUnavailableError("The keyring is locked.")

    with pytest.raises(SecretUnavailableError, match="The keyring is locked"):
        client(dataclasses.replace(connection("openai"), read_secret=locked))


def test_importing_clients_loads_no_sdk():
    modules = "ask calls check connection deadline failure masking models sdk".split()
    heavy = "openai anthropic ollama httpx httpx2 platformdirs keyring pandas ipywidgets".split()
    code = (
        "import importlib, sys\n"
        f"for name in {modules}: importlib.import_module('orchstate.clients.' + name)\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
