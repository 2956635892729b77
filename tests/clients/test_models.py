"""Model lists."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from testbed.network import answering, closed_port

from orchstate.clients.models import Model, alist_models, list_models
from orchstate.errors import ProviderError, SecretUnavailableError
from tests.clients.connections import connection

if TYPE_CHECKING:
    from testbed.llm import LlmServer

DAY = datetime(2026, 7, 2, tzinfo=UTC)


@pytest.mark.llm
@pytest.mark.parametrize("provider", ["openai", "openai_compatible", "anthropic"])
def test_a_real_server_lists_its_model(provider: str, llm_server: LlmServer):
    url = llm_server.root_url if provider == "anthropic" else llm_server.base_url
    made = connection(provider, key=llm_server.api_key, base_url=url)
    assert [model.id for model in list_models(made)] == [llm_server.model]
    assert [model.id for model in asyncio.run(alist_models(made))] == [llm_server.model]


def test_openais_list_has_times_and_owners():
    item = {"id": "a", "object": "model", "created": int(DAY.timestamp()), "owned_by": "us"}
    with answering(200, {"object": "list", "data": [item]}) as server:
        assert list_models(connection("openai", base_url=server.url)) == [Model("a", "a", DAY, "us")]


def test_anthropics_list_has_the_names_for_people():
    item = {"id": "a-1", "type": "model", "display_name": "A One", "created_at": DAY.isoformat()}
    with answering(200, {"data": [item], "has_more": False}) as server:
        assert list_models(connection("anthropic", base_url=server.url)) == [
            Model("a-1", "A One", DAY, "anthropic")
        ]
    assert server.requests[0].path.endswith("limit=1000")


def test_a_stub_of_ollama_lists_what_is_installed():
    body = {"models": [{"model": "a:latest", "name": "a:latest", "modified_at": DAY.isoformat()}]}
    with answering(404, routes={"/api/tags": (200, body)}) as server:
        assert list_models(connection("ollama", base_url=server.url)) == [Model("a:latest", "a:latest", DAY)]


def test_a_sparse_list_is_taken_as_it_is():
    with answering(200, {"data": [{"id": "a"}, {"id": "b", "created": 0}]}) as server:
        made = connection("openai_compatible", base_url=server.url)
        assert list_models(made) == [Model("a", "a"), Model("b", "b")]


def test_the_models_that_the_config_names_come_first_and_once():
    with answering(200, {"data": [{"id": "a"}, {"id": "b"}]}) as server:
        made = connection("openai_compatible", base_url=server.url, model_list="b, own")
        assert [model.id for model in list_models(made)] == ["b", "own", "a"]


def test_a_server_without_a_list_offers_what_the_config_names():
    with answering(404, {"error": {"message": "no such page"}}) as server:
        made = connection("openai_compatible", base_url=server.url, model_list="own")
        assert list_models(made) == [Model("own", "own")]


def test_a_server_without_a_list_is_an_error_when_the_config_names_none():
    with answering(404, {"error": {"message": "no such page"}}) as server:
        with pytest.raises(
            ProviderError, match=r"model or address \(status 404\). It says: no such"
        ) as caught:
            list_models(connection("openai_compatible", base_url=server.url))
    assert caught.value.status == 404


def test_a_dead_server_is_an_error_without_a_status():
    with closed_port() as url, pytest.raises(ProviderError, match=f"Nothing answers at {url}") as caught:
        asyncio.run(alist_models(connection("openai", base_url=url)))
    assert caught.value.status is None


def test_a_missing_key_is_its_own_error():
    with pytest.raises(SecretUnavailableError, match="API key is not set"):
        list_models(connection("openai", key=None))


def test_the_repr_is_one_line_with_the_name_where_it_tells_more():
    assert repr(Model("a", "a")) == "<Model a>"
    assert repr(Model("a-1", "A One")) == "<Model a-1 (A One)>"
