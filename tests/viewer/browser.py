"""A headless Chromium that looks at pages. Skips where there is none."""

import contextlib
import time

import numpy as np
from PIL import Image

from tests.pages import browser

# No card here: WebGL runs on the processor. Nothing of Chromium's own shall use the network.
ARGUMENTS = [
    *("--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
    *("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
]
SIZE = (1080, 600)  # of which the panels take 720; few pixels, because the processor draws them
PATIENCE = 300_000  # ms; on a busy machine one picture may take many seconds


@contextlib.contextmanager
def browsed(address, profile):
    """The page at an address, once it draws. Fails on any request to elsewhere. profile: an empty folder."""
    playwright, chromium = browser()
    asked = []
    with playwright.sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            str(profile),
            executable_path=chromium,
            headless=True,
            args=ARGUMENTS,
            viewport={"width": SIZE[0], "height": SIZE[1]},
        )
        context.set_default_timeout(PATIENCE)
        with contextlib.closing(context):
            page = context.pages[0]
            page.on("request", lambda request: asked.append(request.url))
            page.on("websocket", lambda socket: asked.append(socket.url.replace("ws://", "http://")))
            page.goto(address)
            page.wait_for_selector("canvas")
            # viser says there that no card was found.
            page.add_style_tag(content=".mantine-Notifications-root { display: none }")
            yield page
    assert not [url for url in asked if not url.startswith((address, f"blob:{address}", "data:"))]


def canvas(page, path):
    """(h, w, 3) uint8 of what is seen of the scene between the panels, from a screenshot kept at `path`."""
    page.screenshot(path=str(path))
    picture = np.asarray(Image.open(path).convert("RGB"))
    box = page.evaluate("(e => { const b = e.getBoundingClientRect(); return [b.x, b.y, b.width, b.height] })"
                        "(document.querySelector('canvas'))")  # fmt: skip
    x, y, w, h = map(round, box)
    return picture[y : y + h, x : x + w]


def seen(page, path, met):
    """The canvas once `met(picture)` holds."""
    end = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < end:
        picture = canvas(page, path)
        if met(picture):
            return picture
        page.wait_for_timeout(500)
    raise AssertionError(f"not seen; {path} is the last screenshot")
