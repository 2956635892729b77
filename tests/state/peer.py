"""One process of a store: really, and the same in plain dicts beside it."""

from __future__ import annotations

import contextlib
import threading
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from state.dicts import File, Intent, Process, by_name, chosen, id_of, said
from state.plain_edits import (
    DEFAULTS,
    SETTINGS,
    Block,
    GoneError,
    NoValuesError,
    Op,
    Step,
    TakenError,
    Values,
    changed,
)
from testbed.observing import wait_until

from orchstate.adoption import Adoption
from orchstate.errors import DuplicateNameError, NotFoundError, ValidationError
from orchstate.following import Options
from orchstate.kinds import kinds_of
from orchstate.models.conflict import conflict_id
from orchstate.providers.registry import Registry
from orchstate.secrets.secrets import Secrets
from orchstate.storage.outbox import Outbox
from orchstate.storage.presence import outboxes
from orchstate.storage.sqlite import SqliteEngine
from orchstate.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchstate.config import Config
    from orchstate.conflicts import Conflict
    from orchstate.state.events import Event

PATHS = {"timeout": "agents.timeout", "policy": "sync.conflict_resolution"}
VERBS = {"make": "create", "set": "update", "delete": "delete"}
ERRORS: dict[type[Exception], type[Exception]] = {
    TakenError: DuplicateNameError,
    GoneError: NotFoundError,
    NoValuesError: ValidationError,
}


class DeafEngine(SqliteEngine):
    """An engine that hears of others only when it is told to look, so that what is seen is known."""

    def __init__(self, path: Path) -> None:
        self._called = threading.Event()
        super().__init__(path)

    def wait(self, timeout_s: float) -> bool:
        self._called.wait(timeout_s)
        self._called.clear()
        return False

    def wake(self) -> None:
        self._called.set()


class BodyError(Exception):
    """What the body of a transaction raises."""


class Peer:
    """One process: its store, and the same in dicts."""

    def __init__(self, path: Path, file: File) -> None:
        self.path = path
        self.file = file
        self.is_held = False
        self._open()

    def _open(self) -> None:
        engine = DeafEngine(self.path)
        Adoption(outboxes(self.path), engine, kinds_of(Registry())).run()
        journal = Outbox.create(outboxes(self.path), store_id=engine.store_id, writer=uuid.uuid4().hex)
        options = Options(False, "memory", "me")
        self.store = Store(engine, journal, options, Secrets("memory", vault_path=self.path))
        self.plain = Process(self.file, partial(conflict_id, journal.writer))
        self.block: Block | None = None
        self.observed: dict[str, Config] = {}
        self.told: dict[str, Values] = {}
        self.events: list[Event] = []
        self.since = self.plain.cursor
        self.store.subscribe(self.events.append)
        _ = list(self.store.configs), self.store.settings
        self._know_all()

    def _know_all(self) -> None:
        """Have everything in memory: what is read when it is needed may be newer than the last news."""
        state = self.store._state
        for id in [*state.view._gone]:
            state._fetcher.fetch_id(id)

    # -- edits ------------------------------------------------------------------------------

    def seen(self) -> dict[str, Values]:
        return self.block.seen if self.block else self.plain.seen()

    def edit(self, verb: str, name: str, values: Any) -> None:
        """Make an edit here and in the dicts, or find it refused in both."""
        names = sorted(by_name(self.seen()))
        if verb in ("update", "rename", "delete") and names and name not in names:
            # Of some other one, since it would do nothing otherwise.
            name = names[ord(name) % len(names)]
        id = id_of(self.seen(), name)
        if verb == "settings":
            self._set(SETTINGS, values, self.store.settings.update(**at_paths(values)))
        elif verb == "create" and id:
            with pytest.raises(DuplicateNameError):
                self.store.configs.create("openai", name=name, **values)
        elif verb in ("create", "upsert") and not id:
            make = self.store.configs.create if verb == "create" else self.store.configs.upsert
            made = make(name=name, provider="openai", **values).id
            assert made not in self.seen()
            after = {"name": name} | DEFAULTS | values
            self._submit(Step(Op("make", made, after, verb == "upsert"), None, after))
        elif id:
            self._change(verb, id, values)

    def _change(self, verb: str, id: str, values: Any) -> None:
        config = self.store.configs[id]
        if verb == "delete":
            receipt = config.delete()
            self._submit(Step(Op("delete", id, {}), self.seen()[id], None), receipt)
            return
        wanted = {"name": values} if verb == "rename" else values
        refuses = not self.block and id_of(self.seen(), wanted.get("name", "")) not in (None, id)
        with pytest.raises(DuplicateNameError) if refuses else contextlib.nullcontext():
            self._set(id, wanted, config.update(**wanted))

    def _set(self, id: str, wanted: Values, receipt: Any) -> None:
        block = self.block or Block(self.seen())
        block.set(id, self.seen()[id] | wanted, is_stored=self.plain.is_stored(id))
        if not self.block:
            self.plain.accept(Intent([*block.steps.values()], receipt=receipt))

    def _submit(self, step: Step, receipt: Any = None) -> None:
        if self.block:
            self.block.add(step)
        else:
            self.plain.accept(Intent([step], receipt=receipt))

    # -- transactions -----------------------------------------------------------------------

    def transact(self, edits: list[Any], nested: list[Any], *, fails: bool, inner_fails: bool) -> None:
        before = self.plain.seen()
        taken = False
        try:
            with self.store.transaction("block"):
                self.block = Block(before)
                for one in edits:
                    self.edit(*one)
                self._nest(nested, fails=inner_fails)
                block, self.block = self.block, None
                if fails:
                    raise BodyError
                taken = self._accept(block)
        except BodyError:
            pass
        except DuplicateNameError:
            assert taken
        else:
            assert not taken
        finally:
            self.block = None

    def _nest(self, edits: list[Any], *, fails: bool) -> None:
        assert self.block
        mark = self.block.mark()
        with contextlib.suppress(BodyError), self.store.transaction("inner"):
            for one in edits:
                self.edit(*one)
            if fails:
                self.block.go_back(mark)
                raise BodyError

    def _accept(self, block: Block) -> bool:
        try:
            self.plain.accept(Intent(list(block.steps.values())))
        except TakenError:
            return True
        return False

    # -- undo -------------------------------------------------------------------------------

    def take_back(self, how: str) -> None:
        stack = self.plain.done if how == "undo" else self.plain.undone
        before = self.plain.seen()
        entry = stack[-1] if stack else None
        getattr(self.plain, how)()
        undone = getattr(self.store, how)()
        after = self.plain.seen()
        assert bool(undone.changed) == (before != after)
        for step in entry.steps if entry else ():
            was, now = before.get(step.op.id), after.get(step.op.id)
            if was and now:
                # What somebody else has put there since stays.
                assert all(step.after and was[path] == step.after[path] for path in changed(was, now))

    # -- conflicts --------------------------------------------------------------------------

    def decide(self, number: int, choice: str | Values) -> bool:
        """Decide about one of the open conflicts, if there is any; return whether that was possible."""
        seen = self.seen()
        abouts = {id: values["about"] for id, values in seen.items() if "about" in values}
        open = sorted(id for id, about in abouts.items() if self.plain.has_heard_of(about.edits))
        if open:
            id = open[number % len(open)]
            is_of_settings = seen[id]["about"].met.id == SETTINGS
            choice = {"timeout": 6_000} if is_of_settings and not isinstance(choice, str) else choice
            given = choice if isinstance(choice, str) else at_paths(choice)
            return self._same(
                lambda: self.store.conflicts[id].resolve(given), lambda: self._decided(id, choice)
            )
        return False

    def react(self, number: int, how: str) -> None:
        """Retry or discard an edit that was not committed, where a config tells of one."""
        known = [id for id, values in self.seen().items() if values["name"]]
        blamed = [(id, ns[-1]) for id in sorted(known) if (ns := self.plain.blames(id))]
        edits = {n: [step.op for step in intent.steps] for n, intent in self.plain.refused.items()}
        blamed = [(id, n) for id, n in blamed if self.plain.has_heard_of(edits[n])]
        if blamed:
            id, n = blamed[number % len(blamed)]
            record = self.store.configs[id]
            if self._same(getattr(record, how), lambda: self._reacted(n, how)):
                self.plain.forgive(n)

    def _same(self, real: Callable[[], object], plain: Callable[[], Intent | None]) -> bool:
        """Do something in both, or find it refused in both for one reason; return whether it was done."""
        found = raised_by(real)
        try:
            intent = plain()
            if intent:
                self.plain.accept(intent)
            wanted = None
        except tuple(ERRORS) as error:
            wanted = ERRORS[type(error)]
        assert found is wanted
        return wanted is None

    def _decided(self, id: str, choice: str | Values) -> Intent:
        about = self.seen()[id]["about"]
        ops = chosen(about, choice, self.seen().get(about.met.id))
        return self.plain.again(ops, self._new_id, decided=id)

    def _reacted(self, n: int, how: str) -> Intent | None:
        conflict = self.plain.conflict_id(n)
        if conflict in self.seen():
            return self._decided(conflict, {"retry": "ours", "discard": "theirs"}[how])
        if how == "discard":
            return None
        ops = [step.op for step in self.plain.refused[n].steps]
        return self.plain.again([op._replace(values=said(op)) for op in ops], self._new_id)

    def _new_id(self, name: str) -> str:
        # Where it was not made, it must turn out that it cannot be.
        made = self.store.configs.get(name)
        return made.id if made else f"none {name}"

    # -- outcomes ---------------------------------------------------------------------------

    def toggle(self) -> None:
        mutex = self.store._engine._write_mutex
        (mutex.release if self.is_held else mutex.acquire)()
        self.is_held = not self.is_held

    def settle(self) -> None:
        """Have all edits committed, and compare what became of them."""
        if self.is_held:
            return
        self.store.flush(30)
        for intent, outcome in self.plain.settle():
            if intent.receipt:
                state = intent.receipt.state
                assert ("committed" if state == "merged" else state) == outcome
        self._know_all()

    def refresh(self) -> None:
        writer = self.store._state._writer
        self.store._state.wait_for_news(30)
        # It may have had nothing to wait for, and must not look later, when there is more to be seen.
        wait_until(lambda: writer._asleep and not writer._is_news_wanted)
        self.store._state.catch_up()
        self.plain.take_news()
        self._know_all()

    def close(self) -> None:
        if self.is_held:
            self.toggle()
            self.settle()
        self.store.close()

    def kill(self) -> None:
        """Leave everything as it lies, as ``kill -9`` does: the lock of the outbox is free then."""
        state, engine = self.store._state, self.store._engine
        engine._closed = True
        if self.is_held:
            self.toggle()
        state._writer.stop()
        engine._closed = False
        engine.close()
        state._journal.close(keep=True)  # type: ignore[union-attr]
        self.store._cell_end.forget()
        # Whoever comes next adopts what is there.
        self.plain.settle(late=True)

    def reopen(self, end: Callable[[], None]) -> None:
        end()
        self._open()

    # -- looking ----------------------------------------------------------------------------

    def check(self) -> None:
        seen, configs = self.plain.seen(), self.store.configs
        assert {name: shown(config) for name, config in configs.items()} == by_name(seen)
        assert [configs[name].name for name in configs] == list(configs)
        settings = self.store.settings
        assert settings.agents.timeout == seen[SETTINGS]["timeout"]
        assert settings.sync.conflict_resolution == seen[SETTINGS]["policy"]
        records = {SETTINGS: settings} | {config.id: config for config in configs.values()}
        told = {id: (record.sync_state, record.error is not None) for id, record in records.items()}
        assert told == {id: (self.plain.progress(id), bool(self.plain.blames(id))) for id in records}
        assert (self.store.pending, self.store._state.n) == (len(self.plain.pending), self.plain.n)
        assert (self.store.can_undo, self.store.can_redo) == (bool(self.plain.done), bool(self.plain.undone))
        self._check_told(seen)
        self._check_conflicts(seen)

    def _check_told(self, seen: dict[str, Values]) -> None:
        for id, told in self.told.items():
            if id in seen:
                assert told == seen[id] | {"sync_state": self.plain.progress(id)}
        configs = {id for id, values in seen.items() if values["name"]}
        for id in configs - self.told.keys():
            told = self.told[id] = seen[id] | {"sync_state": self.plain.progress(id)}
            config = self.store.configs[id]
            config.observe(lambda change, told=told: told.update({change.name: change.new}), [*told])
        seqs = [event.seq for event in self.events if event.seq is not None]
        assert seqs == list(range(self.since + 1, self.since + 1 + len(seqs)))
        assert len(seqs) == self.plain.cursor - self.since

    def _check_conflicts(self, seen: dict[str, Values]) -> None:
        found = {conflict.id: self._about(conflict) for conflict in self.store.conflicts.values()}
        about = {id: values["about"] for id, values in seen.items() if "about" in values}
        assert found == {
            id: (one.met.id, VERBS[one.met.verb], one.cause, one.fields, said(one.met))
            for id, one in about.items()
        }

    def _about(self, conflict: Conflict) -> tuple[Any, ...]:
        """Return what a conflict says, in the words of the dicts."""
        target = SETTINGS if conflict.target == self.store.settings.id else conflict.target
        words = {path: word for word, path in PATHS.items()} | {path: path for path in ("name", *DEFAULTS)}
        fields = frozenset(words[path] for path in conflict.fields if path in words)
        ours = {words[path]: value for path, value in conflict.ours.items() if path in words}
        if target == SETTINGS:
            ours.pop("name", None)
        return target, conflict.verb, conflict.cause, fields, {path: hashable(ours[path]) for path in ours}


def at_paths(values: Values) -> Values:
    """Return values at the paths that they have in the store."""
    return {PATHS.get(path, path): value for path, value in values.items()}


def hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def raised_by(call: Callable[[], object]) -> type[Exception] | None:
    """Return what a call raises, None if it does not."""
    try:
        call()
    except tuple(ERRORS.values()) as error:
        return type(error)
    return None


def shown(config: Config) -> Values:
    return {path: getattr(config, path) for path in ("name", *DEFAULTS)}
