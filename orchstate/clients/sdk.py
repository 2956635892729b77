"""SDK clients with exactly a config's settings: nothing from the environment, no redirects.

SDKs read keys, addresses, organizations and headers from environment variables when
they are not told otherwise, and follow redirects with custom headers attached. Here
they are told.
"""

from __future__ import annotations

import importlib
import inspect
import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from orchstate.clients.connection import NO_KEY
from orchstate.clients.failure import failure_of
from orchstate.errors import MissingExtraError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from orchstate.clients.connection import Connection


T = TypeVar("T")


def client(connection: Connection) -> Any:
    """Return the provider's own client, ready to use: ``openai.OpenAI`` and the like.

    Raises
    ------
    MissingExtraError
        If the SDK is not installed; the message has the pip line.
    SecretError
        If a key is needed and not set, or cannot be read.
    ValidationError
        If anything else that the client needs is missing or wrong.
    ProviderError
        If the SDK refuses the config's values.
    """
    return _opened(connection, is_async=False)


def async_client(connection: Connection) -> Any:
    """Return the provider's own asynchronous client; raises what :func:`client` raises."""
    return _opened(connection, is_async=True)


def load(connection: Connection) -> ModuleType:
    """Return the SDK's module, imported now.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    name = connection.definition.sdk
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError.of(name, extra=name, purpose=connection.definition.label) from error


def _opened(connection: Connection, *, is_async: bool) -> Any:
    connection.require_ready()
    secrets = connection.secrets()
    try:
        return built(connection, secrets, is_async=is_async)
    except Exception as error:
        failure = failure_of(error, connection, secrets.values())
    finally:
        secrets.clear()
    # Out here the error has no context, and no frame of its traceback holds a key.
    raise failure.to_error()


def built(connection: Connection, secrets: Mapping[str, str], *, is_async: bool = False) -> Any:
    """Return a client that uses the given values of the config's secrets."""
    build = {"openai": _openai, "anthropic": _anthropic, "ollama": _ollama}[connection.definition.sdk]
    return build(load(connection), connection, secrets, is_async)


def _openai(module: Any, connection: Connection, secrets: Mapping[str, str], is_async: bool) -> Any:
    key = _key(connection, secrets)
    organization, project = connection.value("organization"), connection.value("project")
    ambient = _header_names("OPENAI_CUSTOM_HEADERS")
    ambient += ["OpenAI-Organization"] if organization is None and os.environ.get("OPENAI_ORG_ID") else []
    ambient += ["OpenAI-Project"] if project is None and os.environ.get("OPENAI_PROJECT_ID") else []
    made = _construct(
        module.AsyncOpenAI if is_async else module.OpenAI,
        **_common(module, connection, is_async),
        base_url=connection.base_url,
        api_key=key,
        organization=organization,
        project=project,
        default_headers=_headers(module, connection, secrets, ambient, {"authorization": f"Bearer {key}"}),
    )
    # What the SDK has found in the environment all the same.
    made.organization, made.project, made.admin_api_key = organization, project, None
    return made


def _anthropic(module: Any, connection: Connection, secrets: Mapping[str, str], is_async: bool) -> Any:
    credentials, own_headers = _anthropic_credentials(connection, secrets)
    ambient = _header_names("ANTHROPIC_CUSTOM_HEADERS")
    made = _construct(
        module.AsyncAnthropic if is_async else module.Anthropic,
        **_common(module, connection, is_async),
        **credentials,
        base_url=connection.base_url,
        default_headers=_headers(module, connection, secrets, ambient, own_headers),
    )
    # Older versions take the other credential from the environment and send both.
    made.api_key, made.auth_token = credentials.get("api_key"), credentials.get("auth_token")
    return made


def _anthropic_credentials(
    connection: Connection, secrets: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the arguments that carry the credential, and the headers that it is sent in."""
    profile = connection.value("profile")
    if profile and connection.mode and "profile" in connection.mode.fields:
        return {"profile": profile}, {}
    key, spec = _key(connection, secrets), connection.key_field()
    if spec is not None and spec.name == "auth_token":
        return {"auth_token": key}, {"authorization": f"Bearer {key}"}
    return {"api_key": key}, {"authorization": f"Bearer {key}", "x-api-key": key}


def _ollama(module: Any, connection: Connection, secrets: Mapping[str, str], is_async: bool) -> Any:
    # Given also without a key, since the SDK would send OLLAMA_API_KEY otherwise.
    authorization = {"Authorization": f"Bearer {_key(connection, secrets)}"}
    return (module.AsyncClient if is_async else module.Client)(
        host=connection.base_url,
        headers=authorization | _headers(module, connection, secrets, [], {}),
        timeout=connection.timeout_s,
        follow_redirects=False,
        verify=_verification(connection),
    )


def _common(module: Any, connection: Connection, is_async: bool) -> dict[str, Any]:
    transport = module.DefaultAsyncHttpxClient if is_async else module.DefaultHttpxClient
    return {
        "timeout": connection.timeout_s,
        "max_retries": connection.retries,
        # A redirect to another host would take custom headers, and in some versions the key, along.
        "http_client": transport(follow_redirects=False, verify=_verification(connection)),
    }


def _construct(kind: type[Any], **arguments: Any) -> Any:
    unknown = arguments.keys() - inspect.signature(kind).parameters.keys()
    if unknown:
        name = kind.__module__.partition(".")[0]
        raise MissingExtraError(
            f"The installed version of {name!r} does not know {', '.join(sorted(unknown))}. "
            f"Upgrade it: pip install --upgrade {name}"
        )
    return kind(**arguments)


def _key(connection: Connection, secrets: Mapping[str, str]) -> str:
    spec = connection.key_field()
    # A key with a header of its own is sent there, and not a second time.
    return secrets.get(spec.name, NO_KEY) if spec is not None and spec.header is None else NO_KEY


def _headers(
    module: Any,
    connection: Connection,
    secrets: Mapping[str, str],
    ambient: list[str],
    credentials: Mapping[str, str],
) -> dict[str, Any]:
    """Return the headers of every call; those `ambient` in the environment give way or are left out."""
    own: dict[str, Any] = {}
    for spec in connection.definition.fields:
        value = secrets.get(spec.name) if spec.type == "secret" else connection.value(spec.name)
        if spec.header is not None and value is not None:
            own[spec.header] = str(value)
    own |= connection.value("headers") or {}
    by_key = {name.lower(): name for name in own}
    for name in ambient:
        # Under the very name that the environment uses: the SDK compares names as they are written.
        mine = own.pop(by_key.get(name.lower(), ""), None)
        own[name] = mine or credentials.get(name.lower()) or module.Omit()
    return own


def _header_names(variable: str) -> list[str]:
    lines = os.environ.get(variable, "").split("\n")
    return [line.partition(":")[0].strip() for line in lines if ":" in line]


def _verification(connection: Connection) -> bool | ssl.SSLContext:
    is_verified = connection.value("ssl_verify") is not False
    bundle, certificate = connection.value("ca_bundle_path"), connection.value("client_cert_path")
    if not bundle and not certificate:
        return is_verified
    context = _reading("ca_bundle_path", bundle, lambda path: ssl.create_default_context(cafile=path))
    if not is_verified:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate:
        key = _path(connection.value("client_key_path"))
        # An empty passphrase, because OpenSSL would ask for one in the terminal and wait.
        _reading("client_cert_path", certificate, lambda path: context.load_cert_chain(str(path), key, ""))
    return context


def _reading(field: str, value: str | None, read: Callable[[str | None], T]) -> T:
    try:
        return read(_path(value))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValidationError(
            f"{field} {value!r} cannot be used: {reason}. Name a readable PEM file."
        ) from error


def _path(value: str | None) -> str | None:
    return str(Path(value).expanduser()) if value else None
