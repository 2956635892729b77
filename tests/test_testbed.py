"""The test bed itself: that its parts are real, apart from the user's, and gone afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import keyring.errors
import psutil
import pytest
from testbed import network
from testbed.environment import clean, shelter
from testbed.jupyter import document
from testbed.llm import CONTEXT_TOKENS, LlmServer, write_model
from testbed.process import TESTS, Guarded, NotReadyError, processes_in

if TYPE_CHECKING:
    from testbed.secret_service import SecretService


class TestEnvironment:
    def test_a_clean_environment_has_programs_and_no_keys(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-mine")
        environment = clean(tmp_path / "home", EXTRA="1")
        assert "OPENAI_API_KEY" not in environment
        assert (environment["PATH"], environment["EXTRA"]) == (os.environ["PATH"], "1")
        assert environment["HOME"] == str(tmp_path / "home")

    def test_a_shelter_hides_keys_and_keyring_and_keeps_home(self, tmp_path: Path) -> None:
        environ = {
            "HOME": "/home/me",
            "GROQ_API_KEY": "mine",
            "AZURE_OPENAI_ENDPOINT": "mine",
            "AWS_SECRET_ACCESS_KEY": "mine",
            "DBUS_SESSION_BUS_ADDRESS": "mine",
        }
        shelter(environ, tmp_path)
        assert "mine" not in environ.values()
        assert environ["HOME"] == "/home/me"
        assert environ["ORCHSTATE_STORE"] == str(tmp_path / "store.db")

    def test_the_tests_run_in_a_shelter(self) -> None:
        assert "DBUS_SESSION_BUS_ADDRESS" not in os.environ
        assert "orchstate-tests-" in os.environ["ORCHSTATE_STORE"]


class TestProcess:
    def test_a_program_ends_with_the_process_that_started_it(self, tmp_path: Path) -> None:
        script = (
            "import os, pathlib, signal, sys\n"
            "from testbed.process import Guarded\n"
            "child = 'import os, time; print(os.getpid(), flush=True); time.sleep(600)'\n"
            "log = pathlib.Path(sys.argv[1])\n"
            "program = Guarded([sys.executable, '-c', child], environment=os.environ, log=log)\n"
            "program.wait_for(lambda: program.log.strip() or None, timeout_seconds=20, what='its number')\n"
            "os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        log = tmp_path / "log"
        done = subprocess.run(
            [sys.executable, "-c", script, str(log)],
            env=clean(tmp_path / "home", PYTHONPATH=str(TESTS)),
            check=False,
        )
        assert done.returncode == -signal.SIGKILL
        assert _is_gone(int(log.read_text()))

    def test_a_program_that_ends_early_says_its_last_words(self, tmp_path: Path) -> None:
        command = [sys.executable, "-c", "raise SystemExit('no such planet')"]
        program = Guarded(command, environment=clean(tmp_path / "home"), log=tmp_path / "log")
        with pytest.raises(NotReadyError, match=r"ended before it gave a sign(?s:.*)no such planet"):
            program.wait_for(lambda: None, timeout_seconds=20, what="a sign")
        program.end()

    def test_a_program_that_is_never_ready_is_given_up(self, tmp_path: Path) -> None:
        command = [sys.executable, "-c", "import time; time.sleep(600)"]
        program = Guarded(command, environment=clean(tmp_path / "home"), log=tmp_path / "log")
        with pytest.raises(NotReadyError, match=r"did not give a sign within 0\.1 s"):
            program.wait_for(lambda: None, timeout_seconds=0.1, what="a sign")
        program.end()
        assert not program.is_running


class TestPytest:
    """The rules that hold for a whole run, tried on small ones."""

    def test_a_skip_fails_where_nothing_may_be_skipped(self, tmp_path: Path) -> None:
        (tmp_path / "test_one.py").write_text(
            "import pytest\n"
            "def test_skipped(): pytest.skip('no browser')\n"
            "@pytest.mark.xfail\n"
            "def test_known(): assert False\n"
            "def test_fine(): pass\n"
        )
        (tmp_path / "test_two.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")
        report = _pytest(tmp_path, "-p", "testbed.no_skips", "--continue-on-collection-errors")
        assert "1 failed, 1 passed, 1 xfailed, 1 error" in report
        assert "Nothing may be skipped where CI is set. Skipped: no browser" in report

    def test_each_notebook_has_a_store_of_its_own(self, tmp_path: Path) -> None:
        shutil.copy(TESTS.parent / "conftest.py", tmp_path)
        source = "import os\nprint(os.path.basename(os.path.dirname(os.environ['ORCHSTATE_STORE'])))"
        for name in ("one", "two"):
            output = {"output_type": "stream", "name": "stdout", "text": f"{name}\n"}
            content = document([source])
            content["cells"][0] |= {"outputs": [output], "execution_count": 1}
            (tmp_path / f"{name}.ipynb").write_text(json.dumps(content))
        assert "2 passed" in _pytest(tmp_path, "--nbval", "--nbval-current-env")

    @pytest.mark.parametrize(
        ("text", "sanitized"),
        [
            ("saved 2026-01-02T03:04:05.678901+00:00", "saved <time>"),
            ("committed in 12.5 ms, by 0x7f00ab", "committed in <duration>, by <address>"),
            ("at http://127.0.0.1:8080/v1", "at http://<loopback>/v1"),
            ("store /tmp/x-1/store.db, revision 7", "store <folder>, revision 7"),
            ("id 6ba7b810-9dad-11d1-80b4-00c04fd430c8", "id <id>"),
            ("temperature 0.7 of gpt-5.4-mini", "temperature 0.7 of gpt-5.4-mini"),
        ],
    )
    def test_only_what_differs_between_runs_is_left_out_of_the_comparison(
        self, text: str, sanitized: str
    ) -> None:
        from nbval.plugin import get_sanitize_patterns

        for regex, replacement in get_sanitize_patterns((TESTS / "nbval_sanitize.cfg").read_text()):
            text = re.sub(regex, replacement, text)
        assert text == sanitized


class TestNetwork:
    def test_a_closed_port_refuses(self) -> None:
        with network.closed_port() as url, pytest.raises(httpx.ConnectError, match="refused"):
            httpx.get(url, timeout=5)

    def test_a_black_hole_takes_no_connection(self) -> None:
        with network.black_hole() as url:
            for _ in range(3):
                with pytest.raises(httpx.ConnectTimeout):
                    httpx.get(url, timeout=0.2)

    def test_silence_takes_the_request_and_never_answers(self) -> None:
        with network.silence() as url, pytest.raises(httpx.ReadTimeout):
            httpx.get(url, timeout=0.2)

    def test_an_unknown_host_is_not_found(self) -> None:
        with pytest.raises(httpx.ConnectError):
            httpx.get(network.UNKNOWN_URL, timeout=20)

    def test_dripping_outlasts_a_limit_on_each_byte(self) -> None:
        body = b"0123456789"
        with network.dripping(seconds_per_byte=0.05, body=body) as server:
            start = time.monotonic()
            assert httpx.get(server.url, timeout=0.4).content == body
        assert time.monotonic() - start >= 0.4

    def test_dripping_ends_with_its_block(self) -> None:
        with network.dripping() as server, pytest.raises(httpx.ReadTimeout):
            httpx.get(server.url, timeout=0.02)
        with pytest.raises(httpx.ConnectError):
            httpx.get(server.url, timeout=5)

    def test_an_answer_has_status_body_and_headers(self) -> None:
        with network.answering(429, {"error": "slow down"}, headers={"Retry-After": "7"}) as server:
            answer = httpx.get(server.url)
        assert (answer.status_code, answer.json()) == (429, {"error": "slow down"})
        assert answer.headers["Retry-After"] == "7"

    def test_a_route_has_an_answer_of_its_own(self) -> None:
        with network.answering(404, routes={"/api/tags": (200, {"models": []})}) as server:
            assert httpx.get(f"{server.url}/api/tags?page=1").json() == {"models": []}
            assert httpx.get(f"{server.url}/api/other").status_code == 404

    def test_a_server_keeps_what_was_asked(self) -> None:
        with network.answering() as server:
            httpx.post(f"{server.url}/v1/chat", json={"a": 1}, headers={"Authorization": "Bearer x"})
        (request,) = server.requests
        assert (request.method, request.path, request.json()) == ("POST", "/v1/chat", {"a": 1})
        assert request.headers["authorization"] == "Bearer x"


@pytest.mark.llm
class TestLlm:
    def test_the_model_has_the_same_bytes_each_time(self, tmp_path: Path) -> None:
        digests = set()
        for name in ("first.gguf", "second.gguf"):
            write_model(tmp_path / name)
            digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
        assert len(digests) == 1

    def test_openai_lists_the_model(self, llm_server: LlmServer) -> None:
        import openai

        with openai.OpenAI(base_url=llm_server.base_url, api_key=llm_server.api_key) as client:
            assert [model.id for model in client.models.list()] == [llm_server.model]

    def test_openai_gets_an_answer_of_words_with_token_counts(self, llm_server: LlmServer) -> None:
        import openai

        with openai.OpenAI(base_url=llm_server.base_url, api_key=llm_server.api_key) as client:
            answer = client.chat.completions.create(
                model=llm_server.model, max_tokens=5, messages=[{"role": "user", "content": "Où est l'état?"}]
            )
        text = answer.choices[0].message.content
        assert text is not None
        assert len(text.split()) == 5
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 5

    def test_openai_streams_the_same_words(self, llm_server: LlmServer) -> None:
        import openai

        with openai.OpenAI(base_url=llm_server.base_url, api_key=llm_server.api_key) as client:
            chunks = client.chat.completions.create(
                model=llm_server.model,
                max_tokens=5,
                stream=True,
                messages=[{"role": "user", "content": "Go on"}],
            )
            words = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert len(words.split()) == 5

    def test_anthropic_gets_an_answer(self, llm_server: LlmServer) -> None:
        import anthropic

        with anthropic.Anthropic(base_url=llm_server.root_url, api_key=llm_server.api_key) as client:
            answer = client.messages.create(
                model=llm_server.model, max_tokens=5, messages=[{"role": "user", "content": "Go on"}]
            )
        assert answer.usage.output_tokens == 5
        assert answer.stop_reason == "max_tokens"

    def test_openai_is_refused_with_a_wrong_key(self, llm_server: LlmServer) -> None:
        import openai

        with openai.OpenAI(base_url=llm_server.base_url, api_key="sk-wrong", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError, match="401"):
                client.models.list()

    def test_anthropic_is_refused_with_a_wrong_key(self, llm_server: LlmServer) -> None:
        import anthropic

        with anthropic.Anthropic(base_url=llm_server.root_url, api_key="sk-wrong", max_retries=0) as client:
            with pytest.raises(anthropic.AuthenticationError, match="401"):
                client.models.list()

    def test_an_overlong_prompt_is_a_bad_request(self, llm_server: LlmServer) -> None:
        import openai

        prompt = "x" * (CONTEXT_TOKENS + 1)
        with openai.OpenAI(base_url=llm_server.base_url, api_key=llm_server.api_key) as client:
            with pytest.raises(openai.BadRequestError, match="exceeds the available context size"):
                client.chat.completions.create(
                    model=llm_server.model, messages=[{"role": "user", "content": prompt}]
                )

    def test_an_answer_without_a_limit_ends(self, llm_server: LlmServer) -> None:
        answer = httpx.post(
            f"{llm_server.base_url}/chat/completions",
            json={"messages": [{"role": "user", "content": "Go on"}]},
            headers={"Authorization": f"Bearer {llm_server.api_key}"},
        ).json()
        assert answer["choices"][0]["finish_reason"] in ("length", "stop")


@pytest.mark.keyring
class TestSecretService:
    def test_a_password_set_in_a_kernel_is_read_from_outside(self, secret_service: SecretService) -> None:
        _python("import keyring; keyring.set_password('testbed', 'gpt', 'sk-ключ')", secret_service)
        assert secret_service.lookup(service="testbed", username="gpt") == "sk-ключ"

    def test_a_secret_that_is_not_there_is_none(self, secret_service: SecretService) -> None:
        assert secret_service.lookup(service="testbed", username="nobody") is None

    def test_keyring_chooses_the_secret_service_by_itself(self, secret_service: SecretService) -> None:
        chosen = _python("import keyring; print(keyring.get_keyring())", secret_service)
        assert chosen.startswith("keyring.backends.SecretService.Keyring")

    def test_everything_is_in_throw_away_folders(self, secret_service: SecretService) -> None:
        folders = [secret_service.environment[name] for name in ("HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR")]
        assert all(os.stat(folder).st_mode & 0o077 == 0 for folder in folders[1:])
        assert len({os.path.dirname(folder) for folder in folders}) == 1

    def test_a_locked_collection_gives_nothing_until_it_is_open_again(
        self, secret_service: SecretService
    ) -> None:
        read = "import keyring; print(keyring.get_password('testbed', 'locked'))"
        _python("import keyring; keyring.set_password('testbed', 'locked', 'sk-1')", secret_service)
        with secret_service.locked(), pytest.raises(subprocess.CalledProcessError) as caught:
            _python(read, secret_service)
        assert keyring.errors.KeyringLocked.__name__ in caught.value.stderr
        assert _python(read, secret_service) == "sk-1\n"

    def test_nothing_is_left_running(self) -> None:
        from testbed.secret_service import SecretService

        with SecretService() as service:
            folder = Path(service.environment["HOME"]).parent
            # The bus, the keyring and the shell that starts it, and a guard for each.
            assert len(processes_in(folder)) == 5
        assert processes_in(folder) == []
        assert not folder.exists()


def _python(code: str, service: SecretService) -> str:
    """Run code as a kernel of this service would."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env=service.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout


def _pytest(folder: Path, *options: str) -> str:
    """Run pytest over a folder and return its report."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(folder), *options, str(folder)],
        env=clean(folder / "home", PYTHONPATH=str(TESTS)),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    ).stdout


def _is_gone(number: int) -> bool:
    """Tell whether a process has ended, waiting for it at most 15 s."""
    try:
        process = psutil.Process(number)
        # Nobody may be there to collect its exit status: a zombie is gone, too.
        while process.status() != psutil.STATUS_ZOMBIE and time.time() < process.create_time() + 15:
            time.sleep(0.02)
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
