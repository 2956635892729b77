"""What is a key, what may be one, and what is none."""

from __future__ import annotations

import time

import pytest

from orchstate.models.key_shapes import holds_key, looks_like_key, shown

KEYS = [
    "sk-proj-abcdefghijklmnopqrstuvwx",
    "sk-0123456789abcdef0123456789",
    "sk-ABCDEF0123456789ABCDEF",
    "sk-ant-api03-abcdefghijklmnopqrst",
    "sk-or-v1-0123456789abcdef",
    "gsk_abcdefghij1234567890abcdefghij1234",
    "hf_AbCdEfGhIjKlMnOpQrStUvWxYzAbCdEfGh",
    "xai-" + "aB3" * 20,
    "AIzaSyA1234567890abcdefghijklmnopqrstuv",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
]
MAYBE = [
    "sk-own-0123456789",
    "gsk_0123456789abcdef",
    "csk-0123456789abcdef",
    "hf_abc123def456ghi",
    "Yx7Kp2Qm9Rt4Vw8Zb3Nc6Hd1Jf5Lg0Sa",
    "Bearer abc123def456",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc",
]
NONE = """
    gpt-5.4-mini gpt-4o-mini-2024-07-18 ft:gpt-4o-mini-2024-07-18:org::abc123
    ft:gpt-3.5-turbo-0613:acme-corp:custom-suffix:7p4lURel claude-sonnet-4-5-20250929
    us.anthropic.claude-3-5-sonnet-20241022-v2:0 llama3.2:3b-instruct-q4_K_M deepseek-r1:671b
    arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-3-5-sonnet-20241022-v2:0
    meta-llama/Llama-3.3-70B-Instruct-Turbo-Free TheBloke/Mixtral-8x7B-Instruct-v0.1-GGUF
    hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M accounts/fireworks/models/llama-v3p1-405b-instruct
    sk-learn-text-classifier-2024 xai-grok-4-fast-reasoning xai/grok-4-0709 pplx-70b-online pk-small-v2
    hf_mirror hf_llama3_8b_instruct task-classifier Bearer-token vs_68a1b2c3d4e5f6 gpt4o-prod-westeurope-001
    9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 7f3a9c2e1b4d5f60718293a4b5c6d7e8
    sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    me/lora-9f86d081884c7d659a2feaa0c55ad015a3bf4f1b 550e8400-e29b-41d4-a716-446655440000
    01ARZ3NDEKTSV4RRFFQ69G5FAV org-AbCdEfGhIjKlMnOpQrStUv12 proj_Ab12Cd34Ef56Gh78Ij90Kl12
    /etc/ssl/certs/company.pem /home/me/models/Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf
    https://my-resource.openai.azure.com/openai/deployments/gpt-4o-2024-08-06
    https://gateway.ai.cloudflare.com/v1/0123456789abcdef0123456789abcdef/gw/openai
    https://adb-1234567890123456.7.azuredatabricks.net/serving-endpoints
    https://xyz123abc456defg.us-east-1.aws.endpoints.huggingface.cloud/v1
    https://api.runpod.ai/v2/abcd1234efgh56/openai/v1 us-east-1 germanywestcentral
    projects/my-project-123/locations/us-central1/endpoints/1234567890123456789
    AKIAIOSFODNN7EXAMPLE csk-task-small
    MyVeryLongCompanyInternalLlama3FineTunedModelVersion2 <|start_header_id|> sk-... sk-ant-...
""".split()


@pytest.mark.parametrize("key", KEYS)
def test_a_key_of_a_known_provider_is_certain_wherever_it_stands(key: str) -> None:
    assert holds_key(key) and looks_like_key(key)
    assert holds_key(f"https://example.com/{key}/v1") and holds_key(f"OPENAI_API_KEY={key}")


@pytest.mark.parametrize("text", MAYBE)
def test_what_may_be_a_key_is_not_certain(text: str) -> None:
    assert looks_like_key(text) and not holds_key(text)


@pytest.mark.parametrize("text", NONE)
def test_names_addresses_paths_and_digests_are_no_keys(text: str) -> None:
    assert not looks_like_key(text, ["sk-[A-Za-z0-9_-]{16,}"]) and not holds_key(text)


@pytest.mark.parametrize(
    ("text", "pattern", "expected"),
    [
        ("lab-00112233", "lab-[0-9]{8}", True),
        ("lab-00112233", "pool-[0-9]{8}", False),
        ("7f3a9c2e1b4d5f60718293a4b5c6d7e8", "[0-9a-f]{32}", False),
        ("gpt-4o-2024-08-06", ".*", False),
        ("gpt-4o-20240806", "lab-.+|.+", False),
    ],
)
def test_a_definition_can_say_how_keys_begin(text: str, pattern: str, expected: bool) -> None:
    assert looks_like_key(text, [pattern]) is expected


def test_what_looks_like_a_key_is_not_quoted() -> None:
    assert [shown("gpt"), shown(5), shown(KEYS[0])] == ["'gpt'", "5", "What looks like a key"]


@pytest.mark.parametrize("part", ["sk-", "eyJ", "Bearer ", "gsk_0", "a1B2", "sk-ant-", "x y"])
def test_a_very_long_text_takes_no_longer_than_it_is_long(part: str) -> None:
    started = time.perf_counter()
    looks_like_key(part * 100_000)
    assert time.perf_counter() - started < 2
