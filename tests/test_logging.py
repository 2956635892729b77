"""Logging: one logger per module, lines that help, and no key in any of them."""

from __future__ import annotations

import ast
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from testbed import network
from testbed.kernel import Kernel

import orchstate
from orchstate.errors import OrchstateError

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(orchstate.__file__).parent
KEYS = ("sk-proj-0123456789abcdef0123", "sk-proj-9876543210abcdef9876", "sk-ant-api03-abcdef0123456789abcd")


def of_logging() -> Iterator[tuple[str, str]]:
    """Yield every use of the module ``logging`` with the place where it stands."""
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "logging":
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node.attr


def test_every_module_that_logs_has_a_logger_of_its_own_name() -> None:
    made = {place.partition(":")[0] for place, name in of_logging() if name == "getLogger"}
    usual = "\nlogger = logging.getLogger(__name__)\n"
    wrong = [name for name in made if (ROOT / name).read_text().count("getLogger") != 1]
    assert wrong + [name for name in made if usual not in (ROOT / name).read_text()] == []


def test_nothing_is_logged_without_a_logger() -> None:
    verbs = {"debug", "info", "warning", "error", "exception", "critical", "log"}
    assert [place for place, name in of_logging() if name in verbs] == []


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Everything that any library logs, from DEBUG on."""
    caplog.set_level(logging.DEBUG)
    yield caplog


def test_opening_committing_and_closing_are_logged(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    with orchstate.open(tmp_path / "store.db", secrets="memory") as store:
        store.configs.create("openai", name="gpt")
        store.flush()
        mode = store.stats().journal_mode
    lines = [record.getMessage() for record in log.records if record.name.startswith("orchstate")]
    assert lines[0].startswith(f"Opened {store.path} ({mode}) at revision 0 in ")
    assert lines[1:] == [
        "Committed 1 edits; the last revision is 1",
        f"Closed {store.path} at revision 1",
    ]


def test_merges_and_what_others_did_are_logged(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    with orchstate.open(tmp_path / "store.db", secrets="memory") as store:
        gpt = store.configs.create("openai", name="gpt")
        store.flush()
        setup = f"import orchstate; store = orchstate.open({str(store.path)!r}, secrets='memory')"
        with Kernel(setup) as other, store._engine._write_mutex:
            gpt.temperature = 0.5
            other("store.configs['gpt'].model = 'x'; n = store.flush()")
        store.flush()
        with Kernel(setup) as other:
            other("store.configs['gpt'].model = 'y'; n = store.flush()")
        store.refresh()
    assert "Edit 2 was merged with what others have changed" in log.text
    assert "Saw 1 revisions of others, up to 4" in log.text


def test_no_key_is_in_the_log_of_a_whole_session(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "store.db"
    with network.answering(401, {"error": {"message": f"Incorrect API key provided: {KEYS[1]}"}}) as server:
        with orchstate.open(path, secrets="memory") as store:
            gpt = store.configs.create("openai", name="gpt", model="x", api_key=KEYS[0])
            gpt.observe(lambda change: 1 / 0)
            gpt.update(api_key=KEYS[1], base_url=f"{server.url}/v1")
            store.configs.upsert("gpt", api_key=KEYS[0])
            gpt.provider, gpt.api_key = "anthropic", KEYS[2]
            gpt.provider = "openai"
            refused = 0
            for call in (
                lambda: setattr(gpt, "model", KEYS[0]),
                lambda: setattr(gpt, "temperature", KEYS[0]),
                lambda: store.configs.create("openai", name=KEYS[0]),
                lambda: store.snapshot(KEYS[0]),
                lambda: store.at(KEYS[0]),
                lambda: store.resolve({"store": KEYS[0]}),
                lambda: store.plan_import({"configs": [KEYS[0]]}),
                lambda: gpt.ask("6 * 7?"),
                lambda: gpt.models(),
            ):
                with pytest.raises(OrchstateError):
                    call()
                refused += 1
            assert (gpt.check().ok, refused) == (False, 9)
            selection = store.select(lambda store: store.configs["gpt"].api_key.get_secret_value()[:0])
            seq = store.flush()
            gpt.delete()
            assert selection.error
            store.at(seq).restore()
            store.undo()
            store.export(tmp_path / "setup.json")
    assert server.requests
    found = [record.name for record in log.records for key in KEYS if key in _all_of(record)]
    assert found == []
    assert any(record.levelno == logging.DEBUG for record in log.records)


def _all_of(record: logging.LogRecord) -> str:
    """Return what a log record says, with the traceback that is printed below it."""
    return logging.Formatter("%(name)s %(message)s %(args)s").format(record) + repr(record.args)
