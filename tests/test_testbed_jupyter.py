"""The test bed's JupyterLab: a real page and real kernels, apart from the user's, gone afterwards."""

from __future__ import annotations

import asyncio
import base64
import sys
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from testbed.chromium import Chromium
from testbed.jupyter import CellError, Lab, Notebook
from testbed.process import processes_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from testbed.secret_service import SecretService

pytestmark = pytest.mark.browser


def test_asyncio_works_again_when_the_browser_is_gone() -> None:
    with Chromium():
        assert asyncio.get_running_loop().is_running()
    assert asyncio.run(asyncio.sleep(0, "done")) == "done"


@pytest.fixture(scope="module")
def lab(lab_factory: Callable[[dict[str, str]], Lab]) -> Lab:
    return lab_factory({"TESTBED_GREETING": "hello"})


@pytest.fixture
def notebook(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Notebook]:
    opened = lab.notebook(["import ipywidgets", "1 + 1"], name=f"{request.node.name}.ipynb")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def shared(lab: Lab) -> Notebook:
    """One that several tests add cells to."""
    return lab.notebook(name="shared.ipynb")


SLIDER = "import ipywidgets\nslider = ipywidgets.IntSlider(5, description='speed')\nslider"


@pytest.fixture(scope="module")
def with_slider(lab: Lab) -> Notebook:
    """One that several tests move the slider of."""
    opened = lab.notebook([SLIDER], name="slider.ipynb")
    opened.run_all()
    return opened


class TestNotebook:
    def test_cells_give_their_outputs_as_text(self, notebook: Notebook) -> None:
        assert notebook.run_all() == ["", "2"]
        assert notebook.run(1) == "2"
        assert notebook.run_code("print('one')\n'two'") == "one\n'two'"

    def test_a_cell_that_raises_raises_here(self, shared: Notebook) -> None:
        with pytest.raises(CellError, match="ZeroDivisionError: division by zero"):
            shared.run_code("1 / 0")
        assert "ZeroDivisionError" in shared.run_code("1 / 0", check=False)

    def test_a_cell_that_never_ends_is_given_up(self, shared: Notebook) -> None:
        from playwright.sync_api import Error

        with pytest.raises(Error, match=r"not done within 0\.3 s"):
            shared.run_code("import time; time.sleep(1)", timeout_seconds=0.3)

    def test_the_kernel_is_this_python_with_the_given_environment(self, shared: Notebook) -> None:
        assert shared.run_code("import os, sys; print(sys.executable)").strip() == sys.executable
        assert shared.run_code("os.environ['TESTBED_GREETING']") == "'hello'"
        assert shared.run_code("os.environ.get('ORCHSTATE_STORE', 'none of ours')") == "'none of ours'"

    def test_a_slider_moved_on_the_page_moves_in_the_kernel(self, with_slider: Notebook) -> None:
        with_slider.page.locator(".widget-readout").click()
        with_slider.page.keyboard.press("Control+A")
        with_slider.page.keyboard.type("42")
        with_slider.page.keyboard.press("Enter")
        expect(with_slider.page.locator(".widget-readout")).to_have_text("42")
        assert with_slider.run_code("slider.value") == "42"

    def test_a_slider_moved_in_the_kernel_moves_on_the_page(self, with_slider: Notebook) -> None:
        with_slider.run_code("slider.value = 5")
        expect(with_slider.page.locator(".widget-readout")).to_have_text("5")
        with_slider.run_code("slider.value = 17")
        expect(with_slider.page.locator(".widget-readout")).to_have_text("17")

    def test_two_notebooks_have_two_kernels_and_two_pages(
        self, with_slider: Notebook, shared: Notebook
    ) -> None:
        with_slider.run_code("slider.value = 5")
        shared.run_code("slider = 'mine'")
        assert (shared.run_code("slider"), with_slider.run_code("slider.value")) == ("'mine'", "5")
        expect(with_slider.page.locator(".widget-readout")).to_be_visible()
        expect(shared.page.locator(".widget-readout")).to_have_count(0)

    def test_a_restarted_kernel_has_forgotten(self, shared: Notebook) -> None:
        shared.run_code("memory = 1")
        shared.restart_kernel()
        assert shared.run_code("'memory' in globals()") == "False"

    def test_a_reloaded_page_finds_the_same_kernel(self, shared: Notebook) -> None:
        shared.run_code("memory = 1")
        shared.load()
        assert shared.run_code("memory") == "1"

    def test_a_saved_notebook_holds_the_state_of_its_widgets(self, shared: Notebook) -> None:
        shared.run_code("ipywidgets_password = __import__('ipywidgets').Password(value='leaked')")
        shared.run_code("ipywidgets_password")
        assert "leaked" in shared.save().read_text().partition('"widgets"')[2]

    def test_a_shipped_notebook_is_opened_as_a_copy(
        self, lab: Lab, notebook: Notebook, tmp_path: Path
    ) -> None:
        shipped = tmp_path / "shipped.ipynb"
        shipped.write_bytes(notebook.save().read_bytes())
        opened = lab.open(shipped)
        assert opened.run_all() == ["", "2"]
        assert opened.save() != shipped
        opened.close()

    def test_a_request_to_another_host_is_listed_and_not_made(self, notebook: Notebook) -> None:
        assert (notebook.foreign_requests, notebook.console_errors) == ([], [])
        notebook.page.evaluate("() => fetch('http://elsewhere.invalid/x').catch(() => 0)")
        assert notebook.foreign_requests == ["http://elsewhere.invalid/x"]
        assert notebook.console_errors == ["Failed to load resource: net::ERR_NAME_NOT_RESOLVED"]

    @pytest.mark.parametrize(("theme", "brightness"), [("JupyterLab Light", 240), ("JupyterLab Dark", 30)])
    def test_a_screenshot_shows_the_page_in_its_theme(
        self, with_slider: Notebook, theme: str, brightness: int
    ) -> None:
        with_slider.set_theme(theme)
        picture = with_slider.screenshot(f"testbed-{theme.split()[-1].lower()}")
        with_slider.set_theme("JupyterLab Light")
        assert _brightness(with_slider, picture) == pytest.approx(brightness, abs=30)

    @pytest.mark.keyring
    def test_a_kernel_uses_the_given_secret_service(
        self, lab_factory: Callable[[dict[str, str]], Lab], secret_service: SecretService
    ) -> None:
        lab = lab_factory(secret_service.environment)
        lab.notebook(["import keyring; keyring.set_password('testbed', 'lab', 'sk-lab')"]).run_all()
        lab.close()
        assert secret_service.lookup(service="testbed", username="lab") == "sk-lab"

    def test_a_closed_lab_leaves_nothing_behind(self, lab_factory: Callable[[], Lab]) -> None:
        lab = lab_factory()
        lab.notebook(["1"]).run_all()
        root = lab.folder.parent
        assert len(processes_in(root)) == 3  # the server, its guard, a kernel
        lab.close()
        assert processes_in(root) == []
        assert not root.exists()


def _brightness(notebook: Notebook, picture: Path) -> float:
    """Return the mean brightness of a picture, 0 to 255, as the browser itself decodes it."""
    script = """async data => {
        const image = new Image();
        image.src = data;
        await image.decode();
        const canvas = new OffscreenCanvas(image.width, image.height);
        const painter = canvas.getContext('2d');
        painter.drawImage(image, 0, 0);
        const bytes = painter.getImageData(0, 0, image.width, image.height).data;
        let sum = 0;
        for (let i = 0; i < bytes.length; i += 4) sum += bytes[i] + bytes[i + 1] + bytes[i + 2];
        return sum / (bytes.length / 4 * 3);
    }"""
    data = "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()
    return float(notebook.page.evaluate(script, data))
