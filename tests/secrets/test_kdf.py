from __future__ import annotations

import time

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.kdf import argon2
from pydantic import SecretStr
from pydantic import ValidationError as SchemaError

from orchstate.errors import SecretUnavailableError
from orchstate.secrets.kdf import Argon2id, KeyDerivation, Scrypt, best_derivation

SALT = "00" * 16


@pytest.mark.parametrize(
    ("kdf", "key"),
    [
        (Scrypt(n=2, r=1, salt=SALT), "3d09154f2c8717d98211343e81eead4699b8c9df889c193ddb29291e8773fddb"),
        (
            Argon2id(memory_kib=64, iterations=1, lanes=1, salt=SALT),
            "5a3339cf491692197a0361eb10b2b0dacc78dbe65ecc7053023b1a316a92ca49",
        ),
    ],
)
def test_a_derivation_gives_this_key_for_ever(kdf: KeyDerivation, key: str) -> None:
    assert kdf.derive(SecretStr("correct horse")).hex() == key


def test_letters_composed_by_another_keyboard_are_the_same_passphrase() -> None:
    kdf = Scrypt(n=2, r=1, salt=SALT)
    assert kdf.derive(SecretStr("caf\u00e9")) == kdf.derive(SecretStr("cafe\u0301"))


def test_the_defaults_are_at_or_above_what_owasp_asks_for() -> None:
    scrypt, argon2id = Scrypt(), Argon2id()
    assert scrypt.n >= 1 << 17 and scrypt.r >= 8
    assert argon2id.memory_kib >= 19 << 10 and argon2id.iterations >= 2


@pytest.mark.parametrize("kdf", [Scrypt(), Argon2id()])
def test_a_guess_costs_time_and_an_unlock_not_too_much_of_it(kdf: KeyDerivation) -> None:
    start = time.perf_counter()
    kdf.derive(SecretStr("correct horse"))
    assert 0.01 < time.perf_counter() - start < 30


def test_every_new_derivation_has_its_own_salt() -> None:
    assert len({best_derivation().salt for _ in range(20)}) == 20


def test_argon2id_is_taken_where_it_is() -> None:
    assert isinstance(best_derivation(), Argon2id)


def test_scrypt_is_taken_where_argon2id_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(argon2, "Argon2id", _unsupported)
    assert isinstance(best_derivation(), Scrypt)


def test_a_missing_argon2id_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(argon2, "Argon2id", _unsupported)
    with pytest.raises(
        SecretUnavailableError, match=r'Argon2id, which .* lacks.*pip install "cryptography>=44"'
    ):
        Argon2id().derive(SecretStr("correct horse"))


@pytest.mark.parametrize(
    "parameters",
    [
        {"name": "scrypt", "n": 3},
        {"name": "scrypt", "n": 1 << 20, "r": 16},
        {"name": "scrypt", "p": 1000},
        {"name": "scrypt", "salt": "00"},
        {"name": "scrypt", "salt": "zz" * 16},
    ],
)
def test_scrypt_that_makes_no_sense_or_takes_the_machine_down_is_refused(
    parameters: dict[str, object],
) -> None:
    with pytest.raises(SchemaError):
        Scrypt.model_validate(parameters)


@pytest.mark.parametrize(
    "parameters", [{"memory_kib": 2 << 20}, {"iterations": 10**6}, {"memory_kib": 8, "lanes": 2}]
)
def test_argon2id_that_takes_the_machine_down_is_refused(parameters: dict[str, object]) -> None:
    with pytest.raises(SchemaError):
        Argon2id.model_validate(parameters)


def _unsupported(**parameters: object) -> None:
    raise UnsupportedAlgorithm("This version of OpenSSL does not support argon2id")
