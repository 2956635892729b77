"""What is a key, what may be one, and what is none."""

from __future__ import annotations

import time

import pytest

from orchstate.errors import NotFoundError, quoted
from orchstate.models.key_shapes import holds_key, looks_like_key, shown
from orchstate.models.names import check_name, check_new_name

# Drawn at random, in the alphabets and lengths that providers use.
KEYS = [
    "sk-proj-Zk3vP1qYtB8xLw0_RmC5nJdHs7Ua2eGfTi9oQ4-bVyXzKl6NpEjWcMg1rSuAhDF8vT3BlbkFJq2Lw9ZxYc5RtKo7_PmNb4Gd",
    "sk-proj-0123456789abcdef0123",
    "sk-proj-abcdefghijklmnop0123456789",
    "sk-svcacct-4hTq9ZcW2mXr7LpK0vNs5YbJ8dGf3RtQ6wHz1CxV",
    "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",
    "sk-7f3a9c2e1b4d5f60718293a4b5c6d7e8",
    "sk-ant-api03-rT6y_Jk2PqW9zXv4-LmN8bVcC1sDf7GhJ3kLpQ0wErTyU5iOaSdF2gHjKlZxCvB6nM9qWeRtYuI4oPaSdFgH-8xKzLqAA",
    "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",
    "gsk_v7Kp2Qm9Rt4Vw8Zb3Nc6WGdyb3FYd1Jf5Lg0SaXq2Tk7Pz4Hr9M",
    "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",
    "fw_3ZkQ9vT7xLw2RmC5nJdHs8Ua",
    "xai-" + "aB3" * 20,
    "AIzaSyB7kQ2mX9vT4pLw8ZcN3rJ6hYd1Gf5sUaE",
    "ghp_4hTq9ZcW2mXr7LpK0vNs5YbJ8dGf3RtQ6wHz",
]
MAYBE = [
    "sk-own-0123456789",
    "sk-20241120T1530run12",
    "gsk_0123456789abcdef",
    "csk-0123456789abcdef",
    "hf_abc123def456ghi",
    "Yx7Kp2Qm9Rt4Vw8Zb3Nc6Hd1Jf5Lg0Sa",
    "Bearer abc123def456",
    "http://127.0.0.1:9/Yx7Kp2Qm9Rt4Vw8Zb3Nc6Hd1Jf5Lg0Sa/v1",
    "http://127.0.0.1:9/v1?x=Yx7Kp2Qm9Rt4Vw8Zb3Nc6Hd1Jf5Lg0Sa",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc",
]
NONE = """
    gpt-5.4-mini gpt-4o-mini-2024-07-18 ft:gpt-4o-mini-2024-07-18:org::abc123
    ft:gpt-3.5-turbo-0613:acme-corp:custom-suffix:7p4lURel claude-sonnet-4-5-20250929
    us.anthropic.claude-3-5-sonnet-20241022-v2:0 llama3.2:3b-instruct-q4_K_M deepseek-r1:671b
    arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-3-5-sonnet-20241022-v2:0
    meta-llama/Llama-3.3-70B-Instruct-Turbo-Free TheBloke/Mixtral-8x7B-Instruct-v0.1-GGUF
    hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M accounts/fireworks/models/llama-v3p1-405b-instruct
    sk-RandomForestClassifier sk-GradientBoostingClassifier sk-BratislavaNovember2024
    sk-admin-dashboard-assistant
    sk-ant-colony-optimizer sk-proj-classification-model-v2 sk-proj-retrieval-augmented-gpt-4o-mini-2024-07-18
    fw_internationalizationtests fw_AccountsOfTheLaboratory2024
    https://lab.example.com/sk-admin-dashboard-assistant/v1
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
    assert holds_key(f"https://example.com/Bearer%20{key}/v1") and holds_key(f"https://a/Bearer{key}")


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


@pytest.mark.parametrize("text", ["sk-RandomForestClassifier", "sk-ant-colony-optimizer"])
def test_a_name_of_words_can_be_given(text: str) -> None:
    assert check_name(text) == text and quoted(text) == repr(text)
    check_new_name(text)


@pytest.mark.parametrize("key", [*KEYS, *MAYBE])
def test_no_message_quotes_a_key_also_inside_of_something_else(key: str) -> None:
    for value in (key, [key], {"key": key}, f"u:{key}@host"):
        assert quoted(value) == "<what looks like a key>"
    assert key not in str(NotFoundError.among("config", key, ["gpt"]))


@pytest.mark.parametrize("part", ["sk-", "eyJ", "Bearer ", "gsk_0", "a1B2", "sk-ant-", "x y", "sk-aB", "a"])
def test_a_very_long_text_takes_no_longer_than_it_is_long(part: str) -> None:
    started = time.perf_counter()
    looks_like_key(part * 100_000)
    looks_like_key("sk-" + part * 100_000 + "12345")
    assert time.perf_counter() - started < 60
