"""The row of a secret field: a key goes in, and is never shown again.

What is typed goes to where this machine keeps keys, beside the notebook, since that may
take a moment. Where it turns out that keys go to a vault that is locked, the key waits in
memory until its passphrase has been typed, or the person thinks better of it. A key is for
the provider and address that were shown when it was typed, and is kept for no other.
"""

from __future__ import annotations

import os
import time
import weakref
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ipywidgets import HTML, Box

from orchstate.display import html_note
from orchstate.errors import OrchstateError
from orchstate.loops import running_loop
from orchstate.models.config import ConfigDocument
from orchstate.models.secret import env
from orchstate.origin import place
from orchstate.secrets.value import clean_secret
from orchstate.widgets.background import Task
from orchstate.widgets.confirm import Confirm
from orchstate.widgets.key_entry import KeyEntry
from orchstate.widgets.style import is_shown, make, mark, show, text
from orchstate.widgets.turns import Button
from orchstate.widgets.vault_entry import VaultEntry, from_home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pydantic import SecretStr

    from orchstate.config import Config
    from orchstate.errors import Issue
    from orchstate.models.secret import SecretRef
    from orchstate.providers.definition import FieldSpec
    from orchstate.secrets.secrets import Secrets

# Whoever has waited longer than this does something else by now.
_WAITED_FOR_S: Final = 1.0
# Unlocking the vault in one row unlocks it for all.
_rows: Final[weakref.WeakSet[SecretRow]] = weakref.WeakSet()
# Of which stores it is known, or being found out, if their keyring can be used.
_looked_at: Final[weakref.WeakSet[Secrets]] = weakref.WeakSet()


@dataclass(frozen=True, slots=True)
class _Typed:
    """A key, and the config as it was when the key was typed."""

    key: SecretStr
    meant_for: ConfigDocument


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of a key or a passphrase; a key that is lost was typed, and is nowhere now."""

    problem: str = ""
    warning: str = ""
    waiting: _Typed | None = None
    is_lost: bool = False


class SecretRow:
    """The row of a secret field.

    Parameters
    ----------
    config
        Whose field it is.
    spec
        Which field.
    origin
        Where the history says that edits come from.
    say
        Called with what has to be said when the row is not there any more.
    told
        Called when `is_unsaved` may have changed.

    Attributes
    ----------
    box
        The widget.
    entry, save, cancel
        Where the key is typed.
    replace, remove
        What can be done with a key that is set.
    vault
        Where a locked vault is opened, or a new one made.
    offers
        One button for each usual environment variable that is set.
    """

    def __init__(
        self,
        config: Config,
        spec: FieldSpec,
        origin: str,
        say: Callable[[str], object] = lambda message: None,
        told: Callable[[], object] = lambda: None,
    ) -> None:
        self._config = config
        self._spec = spec
        self._origin = origin
        self._say = say
        self._told = told
        self._told_of = False
        self._secrets = config._services.secrets
        self._seen = self._ref
        self._outcome = _Outcome()
        self._busy = ""
        self._acted_at = -_WAITED_FOR_S
        self._replacing = self._is_disabled = False
        self._issues: tuple[Issue, ...] = ()
        self._make_widgets()
        self._connect()
        _rows.add(self)
        self.update()
        self._look_for_keyring()

    def update(self) -> None:
        """Show what the store has now."""
        if self._ref != self._seen and not self._busy:
            # It was changed elsewhere, and what was said of the old one is over.
            self._seen, self._outcome, self._replacing = self._ref, _Outcome(), False
        is_set, is_locked = self._ref.is_set, self._is_locked
        is_open = not is_locked and not self._busy and (self._replacing or not is_set)
        for widget in (self.entry, self.save):
            show(widget, is_open)
        show(self._state, not is_open)
        can_change = is_set and not self._busy and not is_open
        for widget in (self.replace, self.remove.ask):
            show(widget, can_change)
        if not can_change:
            self.remove.stop()
        self.vault.show(is_locked and not self._busy)
        show(self.cancel, not self._busy and (self._replacing or self._outcome.waiting is not None))
        show(self.offers, is_open)
        if is_open:
            self._offer()
        self._state.value = html_note(
            self._description(), "ok" if is_set and not self._outcome.waiting else "hint"
        )
        self.remove.question = f"Remove the {self._spec.label}? It cannot be brought back."
        self._explain()

    @property
    def label(self) -> str:
        """What people call the field."""
        return self._spec.label

    @property
    def is_unsaved(self) -> bool:
        """Whether a key was typed, and is not saved: it waits for the vault, or was refused."""
        return self._outcome.waiting is not None or self._outcome.is_lost

    def judge(self, issues: Iterable[Issue]) -> None:
        """Show what is wrong with the reference."""
        self._issues = tuple(issues)
        self._explain()

    def disable(self) -> None:
        """Let it be looked at only."""
        self._is_disabled = True
        self.entry.disable()
        for button in (self.save, self.replace, self.remove.ask, *self.offers.children):
            button.disabled = True

    # -- what a person does -------------------------------------------------------------

    def _typed(self, key: SecretStr) -> None:
        try:
            document = self._config.document()
        except OrchstateError as error:
            self._outcome = _Outcome(problem=str(error), is_lost=True)
            self.update()
            return
        if isinstance(document, ConfigDocument):
            self._begin("Saving…", partial(self._save, _Typed(key, document)))

    def _save(self, typed: _Typed) -> _Outcome:
        try:
            value, warning = clean_secret(typed.key.get_secret_value())
            # The place for keys is looked for at its first use, and may be a vault.
            self._secrets.prepare()
            if self._secrets.needs_unlock:
                return _Outcome(waiting=typed)
            with place(self._origin):
                self._config.set_secret(self._spec.name, value, meant_for=typed.meant_for)
            return _Outcome(warning=" ".join(filter(None, (warning, self._spec.doubt(value)))))
        except OrchstateError as error:
            return _Outcome(problem=str(error), is_lost=True)

    def _typed_passphrase(self, passphrase: SecretStr) -> None:
        what = "Unlocking…" if self._secrets.vault.exists else "Making the vault…"
        self._begin(what, partial(self._unlock, passphrase, self._outcome.waiting))

    def _complain(self, problem: str) -> None:
        self._outcome = replace(self._outcome, problem=problem)
        self.update()

    def _unlock(self, passphrase: SecretStr, waiting: _Typed | None) -> _Outcome:
        try:
            self._secrets.unlock(passphrase.get_secret_value())
        except OrchstateError as error:
            return _Outcome(problem=str(error), waiting=waiting)
        return self._save(waiting) if waiting else _Outcome()

    def _begin(self, what: str, work: Any) -> None:
        self._busy = what
        self.update()
        Task(work, self._end).start()

    def _acted(self) -> None:
        """Note that a person waits for what comes now, and has not gone elsewhere."""
        self._acted_at = time.monotonic()

    def _hear(self, widget: Any, content: dict[str, Any], buffers: Any) -> None:
        if content.get("event") == "submit":
            self._acted()

    def _move_focus(self) -> None:
        """Have the keyboard where the next thing can be done: what was pressed may be gone."""
        targets = (self.vault.next, self.entry, self.replace)
        next((target for target in targets if is_shown(target)), self.replace).focus()

    def _end(self, outcome: _Outcome | None) -> None:
        outcome = outcome or _Outcome("It was not saved. Try again; the log may say why.", is_lost=True)
        if self.box.comm is None:
            self._report_loss(outcome)
            return
        self._busy, self._seen, self._outcome = "", self._ref, outcome
        if not self._outcome.problem:
            self._replacing = False
        self._update_all()
        if time.monotonic() - self._acted_at < _WAITED_FOR_S:
            self._move_focus()

    def _update_all(self) -> None:
        for row in list(_rows):
            if row._secrets is self._secrets and row.box.comm is not None:
                row.update()

    def _look_for_keyring(self) -> None:
        """Find out beside the notebook where keys go, so that it is said before one is typed."""
        if running_loop() is not None and self._secrets not in _looked_at:
            _looked_at.add(self._secrets)
            Task(self._secrets.prepare, lambda _: self._update_all()).start()

    def _report_loss(self, outcome: _Outcome) -> None:
        """Say that a key was not kept, where that can still be seen."""
        lost = f"The {self._spec.label} was not kept, because its field is gone. Type it again."
        message = outcome.problem or (lost if outcome.waiting else "")
        if message:
            self._say(message)

    def _start_over(self, *, replacing: bool) -> None:
        self._replacing = replacing
        self._outcome = _Outcome()
        self.update()
        self._move_focus()

    def _pressed(self, entry: Any, lacking: str) -> None:
        # Pressing the button has left the entry, which hands over what was typed: if it waits, nothing was.
        if is_shown(entry) and not self._outcome.problem:
            self._complain(lacking)
        self._acted()
        if not self._busy:
            self._move_focus()

    def _assign(self, value: SecretRef | None) -> None:
        try:
            with place(self._origin):
                self._config.update(**{self._spec.name: value})
            self._outcome, self._replacing = _Outcome(), False
        except OrchstateError as error:
            self._outcome = _Outcome(problem=str(error))
        self.update()
        self._move_focus()

    # -- what is shown ------------------------------------------------------------------

    @property
    def _ref(self) -> SecretRef:
        ref: SecretRef = self._config[self._spec.name]
        return ref

    @property
    def _is_locked(self) -> bool:
        """Whether there is something to unlock: for a key that waits, or for one that is in the vault."""
        if self._outcome.waiting is not None:
            return True
        return self._ref.source == "vault" and self._secrets.vault.needs_passphrase and not self._replacing

    def _description(self) -> str:
        ref = self._ref
        if self._busy or self._outcome.waiting:
            return self._busy or "typed, and not saved before the vault is open"
        if not ref.is_set:
            return "not set"
        where = self._secrets.describe(ref)
        if ref.source == "env":
            is_there = bool(os.environ.get(ref.name))
            return f"From {ref.name} (environment)" if is_there else f"{where} in the environment"
        return f"Saved {where}"

    def _explain(self) -> None:
        outcome = self._outcome
        if outcome.problem:
            note = html_note(outcome.problem, "error")
        elif self._busy:
            note = html_note(self._busy, "busy")
        elif self._is_locked:
            note = html_note(self.vault.how_to_open(self._secrets.notice), "warning")
        elif self._ref.is_set and not self._replacing:
            note = self._about_the_saved_one()
        else:
            note = self._hint()
        self._note.value = note
        mark(self.box, "orch-refused", bool(outcome.problem))
        if self.is_unsaved != self._told_of:
            self._told_of = self.is_unsaved
            self._told()

    def _hint(self) -> str:
        needed = "Needed before this can be used." if self._issues else ""
        warning = html_note(f"{needed} {self._notice}".strip(), "warning")
        return html_note(f"{self._spec.help} It is kept out of the notebook.".strip()) + warning

    def _about_the_saved_one(self) -> str:
        if self._issues:
            return html_note(" ".join(issue.message for issue in self._issues), "error")
        if self._outcome.warning:
            return html_note(self._outcome.warning, "warning")
        return html_note(self._notice if self._ref.source == "vault" else "")

    @property
    def _notice(self) -> str:
        """Where keys go instead of the keyring, ``""`` if they go there."""
        return from_home(self._secrets.notice or "")

    def _offer(self) -> None:
        found = [name for name in self._spec.env if os.environ.get(name)]
        if [button.tooltip for button in self.offers.children] == found:
            return
        dropped = self.offers.children
        self.offers.children = [self._offer_of(name) for name in found]
        for button in dropped:
            button.close()

    def _offer_of(self, name: str) -> Any:
        button = make(
            Button,
            description=f"Use {name} from the environment",
            tooltip=name,
            disabled=self._is_disabled,
        )
        button.on_click(lambda _: self._assign(env(name)))
        return button

    # -- widgets ------------------------------------------------------------------------

    def _make_widgets(self) -> None:
        label = self._spec.label
        hint = self._spec.placeholder or "type or paste it, then press Enter"
        self.entry = make(
            KeyEntry, "orch-key", description=label, placeholder=hint, tooltip=self._spec.help or label
        )
        self.save = make(Button, description="Save")
        self.cancel = make(Button, description="Cancel")
        self._state = make(HTML, "orch-state", description=label)
        self.replace = make(Button, description="Replace")
        self.remove = Confirm("Remove", lambda: self._assign(None))
        self.vault = VaultEntry(self._secrets.vault, self._typed_passphrase, self._complain)
        self.offers = make(Box, "orch-offers")
        self._note = text("", "orch-note")
        self.box = make(
            Box,
            "orch-row",
            "orch-secret",
            children=(
                *(self.entry, self._state, self.save, self.replace, self.remove.ask),
                *(*self.vault.widgets, self.cancel, self.offers, self.remove.box, self._note),
            ),
        )

    def _connect(self) -> None:
        for entry in (self.entry, self.vault.passphrase, self.vault.repeat):
            entry.on_msg(self._hear)
        self.entry.on_typed(self._typed)
        self.save.on_click(lambda _: self._pressed(self.entry, "Type the key first."))
        self.vault.button.on_click(lambda _: self._pressed(self.vault.passphrase, self.vault.lacking))
        self.replace.on_click(lambda _: self._start_over(replacing=True))
        self.cancel.on_click(lambda _: self._start_over(replacing=False))
