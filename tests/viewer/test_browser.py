"""The pages as a person gets them: in a browser, with a click."""

import contextlib
import re
import threading

import numpy as np
import pytest

from endorender.viewer.page import opened, serve
from endorender.viewer.shapes import OVERVIEW, overview
from tests.dataset import sphere
from tests.dataset.tubes import tube
from tests.viewer.browser import browsed, seen
from tests.viewer.test_page import begin, left

pytestmark = pytest.mark.slow  # the processor draws what a card would
pytest.importorskip("viser", reason="needs the extra: pip install 'endorender[view]'")
BACKGROUND = 40  # 8-bit levels below which a pixel is the dark page


def drawn(picture):
    """Share of the canvas that something is drawn on."""
    return (picture.max(-1) > BACKGROUND).mean()


def faded_in(picture):
    """viser's scene comes up out of the dark."""
    return (picture.max(-1) > 180).mean() > 0.002


def pixel(point, points, shape):
    """Where a point lies on the canvas (h, w) of a page that still stands where it began, px."""
    position, middle = overview(points)
    forward = (middle - position) / np.linalg.norm(middle - position)
    right = np.cross(forward, (0, 0, 1))
    right /= np.linalg.norm(right)
    x, y, z = np.stack([right, np.cross(forward, right), forward]) @ (point - position)
    focal = shape[0] / 2 / np.tan(OVERVIEW / 2)
    return shape[1] / 2 + focal * x / z, shape[0] / 2 + focal * y / z


@contextlib.contextmanager
def served(page):
    """The address at which a page is served by another thread of this process."""
    addresses, up, ended = [], threading.Event(), threading.Event()

    def told(address):
        addresses.append(address)
        up.set()

    thread = threading.Thread(target=serve, args=(page, 0, told, ended), daemon=True)
    thread.start()
    try:
        assert up.wait(300)
        yield addresses[0]
    finally:
        ended.set()
        thread.join(300)
    assert not thread.is_alive()


def test_a_dataset_is_seen_and_a_click_steps_into_a_camera(tmp_path):
    page = opened(str(sphere.make(tmp_path / "SMITH_JOHN", size="64x48", views=3, patients=2)), 0)
    with served(page) as address, browsed(address, tmp_path / "profile") as browser:
        picture = seen(browser, tmp_path / "overview.png", lambda p: drawn(p) > 0.05 and faded_in(p))
        assert len(np.unique(picture.reshape(-1, 3) // 16, axis=0)) > 60, "points carry the picture's colours"
        assert "p001/0000/red" in browser.inner_text("body")
        assert "SMITH" not in browser.content() + browser.title()
        pose = np.array(page._rows[2].world_from_camera)
        box = browser.locator("canvas").first.bounding_box()
        x, y = pixel(pose[:3, 3] + 1.0 * pose[:3, 2], page._points, picture.shape[:2])
        browser.mouse.move(box["x"] + x, box["y"] + y)
        browser.wait_for_timeout(500)
        browser.mouse.click(box["x"] + x, box["y"] + y)
        browser.get_by_text(re.compile(r"p001/000[12]/red ·")).wait_for()  # they stand close behind one another
        # Inside the sphere the wall is all around.
        inside = seen(browser, tmp_path / "inside.png", lambda p: drawn(p) > 0.5)
        browser.get_by_text("Back to the overview").click()
        back = seen(browser, tmp_path / "back.png", lambda p: abs(drawn(p) - drawn(picture)) < 0.02)
        assert drawn(inside) > drawn(back)


def test_a_ct_is_seen_and_its_preview_gets_better(tmp_path):
    with begin(tube(tmp_path / "SMITH_JOHN.nii.gz")) as process:
        address = re.search(r"http://\S+", process.stdout.readline())[0]
        with browsed(address, tmp_path / "profile") as browser:
            wall = seen(browser, tmp_path / "wall.png", lambda p: drawn(p) > 0.05 and faded_in(p))
            r, g, b = (wall[..., k].astype(int) for k in range(3))
            assert ((r > g + 15) & (g > b) & (r > 60)).mean() > 0.04, "the wall is drawn in its own colour"
            browser.get_by_text(re.compile(r"80×60|160×120|320×240")).wait_for()
            browser.get_by_text(re.compile(r"camera \d+ at \d+ of \d+ mm · 320×240 · 64 of 64 samples")).wait_for()
            assert "SMITH" not in browser.content() + browser.title()
            browser.get_by_text("vessels and film").click()
            browser.get_by_text("64 of 64 samples").wait_for(state="hidden")  # it begins anew
            # In the middle of the work.
            assert left(process) == ("", "", 0)


def test_markup_in_what_is_said_is_text_and_no_script_of_the_page_runs(tmp_path):
    page = opened(str(sphere.make(tmp_path / "data", size="64x48", views=2, patients=2)), 0)
    with served(page) as address, browsed(address, tmp_path / "profile") as browser:
        page._say("<img src=x onerror=\"document.title='ran'\"> {1 + 1}")
        browser.get_by_text("<img src=x onerror=").wait_for()
        # And where markup reaches the page, the policy holds.
        page._state.content = "<b>below</b><img src=x onerror=\"document.title='ran'\">"
        browser.get_by_text("below").wait_for()
        browser.wait_for_timeout(500)
        assert "ran" not in browser.title()
