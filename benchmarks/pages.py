"""Pages: how soon an edit is seen in a real browser, beside a plain slider of ipywidgets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from testbed.jupyter import Lab

from benchmarks.measuring import Figure, Limit, interleave

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from testbed.jupyter import Notebook

    from benchmarks.places import Bench

# A person does not notice less, and a page must not feel dead.
_GOALS: Final = (Limit("median", 100),)
_CEILING: Final = Limit("median", 1_000)
_CONFIG: Final = "gpt = store.configs.upsert('gpt', 'openai', model='gpt-5.4-mini', temperature=0.1)"
_PLAIN: Final = """import ipywidgets
plain = ipywidgets.FloatSlider(max=2)
plain"""
# Notes in the page when a slider says another number for the first time.
_WATCH: Final = """selector => {
    const handle = document.querySelector(selector + ' .noUi-handle');
    window.seen = {};
    window.watching?.disconnect();
    window.watching = new MutationObserver(() => {
        const value = Number(handle.getAttribute('aria-valuetext'));
        window.seen[value] ??= performance.timeOrigin + performance.now();
    });
    window.watching.observe(handle, {attributes: true});
}"""
_SEEN: Final = "value => window.seen[value]"
_FORM: Final = ".orch-form"
_SLIDER: Final = ".jp-OutputArea-output:not(:has(.orch-form))"


def figures(bench: Bench) -> Iterator[Figure]:
    """Measure all of this area."""
    opening = f"import orchstate as orch\nstore = orch.open({str(bench.folder / 'pages.db')!r})"
    count = bench.pick(10, 3)
    with Lab() as lab:
        first = lab.notebook([opening, _CONFIG, "gpt.form()", _PLAIN], name="first.ipynb")
        first.run_all()
        second = lab.notebook([opening, "gpt = store.configs['gpt']"], name="second.ipynb")
        second.run_all()
        own, other, plain = interleave(
            bench.rounds,
            lambda: _delays_ms(first, first, _FORM, "gpt.temperature", count),
            lambda: _delays_ms(second, first, _FORM, "gpt.temperature", count),
            lambda: _delays_ms(first, first, _SLIDER, "plain.value", count),
        )
        for notebook in (first, second):
            notebook.run_code("store.close()")
    against = "ipywidgets' slider"
    for what, ours in (("its own page", own), ("another notebook's page", other)):
        yield Figure(f"from a cell to {what}", "ms", ours, against, plain, ceiling=_CEILING, goals=_GOALS)


def _delays_ms(editor: Notebook, shown: Notebook, where: str, what: str, count: int) -> Sequence[float]:
    """Return how long after each edit in a cell the page shows its value."""
    shown.page.evaluate(_WATCH, where)
    delays = []
    for number in range(count):
        value = round(0.2 + number / 10, 1)
        edit = f"import time; at = time.time(); {what} = {value}; print(1000 * at)"
        at_ms = float(editor.run_code(edit))
        shown.page.wait_for_function(_SEEN, arg=value, timeout=10_000)
        delays.append(float(shown.page.evaluate(_SEEN, value)) - at_ms)
    editor.run_code(f"{what} = 0.1")
    shown.page.wait_for_function(_SEEN, arg=0.1, timeout=10_000)
    return delays
