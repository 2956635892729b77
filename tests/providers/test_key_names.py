"""Names of headers and parameters that carry keys, told from those that only resemble them."""

from __future__ import annotations

import pytest

from orchstate.providers.key_names import is_key_name

CARRIERS = """Authorization authorization Proxy-Authorization cf-aig-authorization Cookie api-key x-api-key
X-API-KEY X-Auth-Key X-Auth-Token X-Auth auth Helicone-Auth Private-Token X-Vault-Token token access_token
accessToken x-goog-api-key CF-Access-Client-Secret client_secret X-APIKey apiKey apikey key
Ocp-Apim-Subscription-Key password X-Password X-Amz-Signature sig X-Session-Token X-Credentials JWT""".split()
OTHERS = """X-Author X-Authority Authors X-Tokenizer X-Max-Tokens max_tokens X-Token-Limit Idempotency-Key
X-Cache-Key X-Keyboard Monkey Cookies-Policy Secretary CF-Access-Client-Id X-Auth-Email X-Auth-Type
X-OAuth-Scopes User-Agent OpenAI-Organization anthropic-beta X-Title HTTP-Referer api-version design 1 - é
X-Key-Id""".split()


@pytest.mark.parametrize("name", CARRIERS)
def test_a_name_with_a_word_for_keys_carries_one(name: str) -> None:
    assert is_key_name(name)


@pytest.mark.parametrize("name", OTHERS)
def test_a_name_that_only_resembles_one_does_not(name: str) -> None:
    assert not is_key_name(name)
