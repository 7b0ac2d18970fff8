"""The page of a dataset: opens from disk, filters, tells depths; looked at with a browser where there is one."""

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from endorender.dataset import open_dataset
from endorender.dataset.pages import card, finished, index_html
from endorender.dataset.sheet import colour_depth
from tests.dataset.sphere import make
from tests.pages import faults

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
SIZE = {"size": "100x80"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make(tmp_path_factory.mktemp("data") / "data", patients=3, views=2, **SIZE)


def test_the_page_holds_depths_of_single_pixels(data):
    page = (data / "index.html").read_text()
    found = re.findall(r'data-columns="(\d+)" data-values="([^"]*)"', page)
    views = [f for f in open_dataset(data).frames if f.variation == "plain"]
    assert len(found) == len(views) == 6
    for (columns, text), frame in zip(found, views, strict=True):
        levels = np.frombuffer(base64.b64decode(text), "<u2").reshape(-1, int(columns))
        assert max(levels.shape) <= 64
        z = frame.geometry()["z_depth"][1::2, 1::2]
        np.testing.assert_allclose(levels / 100, z, atol=0.0051)


def test_every_patient_has_a_sheet(data):
    for alias in ("p001", "p002", "p003"):
        with Image.open(data / alias / "contact_sheet.png") as one, Image.open(data / "contact_sheet.png") as all_:
            assert one.width == all_.width
            assert one.height < all_.height / 2
    page = (data / "index.html").read_text()
    assert 'href="p002/contact_sheet.png"' in page
    # Nothing of it needs a network, a server or another file's bytes.
    assert "http" not in page.replace("http-equiv", "")
    assert "fetch(" not in page
    assert "getImageData" not in page


def test_pages_of_very_many_views_show_some_of_them_evenly(data, tmp_path, monkeypatch):
    monkeypatch.setattr("endorender.dataset.pages.MOST_VIEWS", 4)
    few = finished(data)
    assert [f.id for f in few.frames] == [f"p00{p}/0000/{v}" for p in (1, 2, 3) for v in ("plain", "red")]
    page = index_html(few)
    assert "3 of 6 views are shown" in page
    assert "p002/0000/red.png" in page
    assert "p002/0001/red.png" not in page
    assert "12 pictures" in card(few)
    assert index_html(open_dataset(data)).count('class="view"') == 3


def test_the_page_says_what_it_shows_and_depths_are_smooth(data):
    page = (data / "index.html").read_text()
    assert "<h1>6 views of 3 patients, with depth</h1>" in page
    assert "camera</dt><dd>pinhole, " in page
    found = re.findall(r'src="data:image/webp;base64,([^"]*)" alt="z-depth, ([^"]*)"', page)
    views = [f for f in open_dataset(data).frames if f.variation == "plain"]
    top = float(re.search(r"yellow ([\d.]+) mm or more", page)[1])
    for (raw, alt), frame in zip(found, views, strict=True):
        z = frame.geometry()["z_depth"]
        with Image.open(io.BytesIO(base64.b64decode(raw))) as picture:
            shown = np.asarray(picture.convert("RGB"), int)
        assert len(np.unique(shown.reshape(-1, 3), axis=0)) > 200  # no bands
        assert np.abs(shown - colour_depth(z, top)).mean() < 4
        assert alt.startswith(f"{frame.patient}, view {frame.view}: {z.min():.1f} to {z.max():.1f} mm")


def test_the_page_is_fit_for_phone_and_desktop_keyboard_and_screen_reader(data):
    assert faults(data / "index.html") == []


ACT = """
<script>
addEventListener("load", () => {
  const found = {}, seen = q => [...document.querySelectorAll(q)].filter(e => e.offsetParent).length;
  found.rows = seen("tr.view"); found.pictures = seen("td[data-column] img");
  found.title = document.title;
  found.broken = [...document.images].filter(i => !i.naturalWidth).length;
  document.querySelector('input[data-column="0"]').click();
  found.without_plain = seen("td[data-column] img");
  const split = document.getElementById("split"); split.value = "test";
  split.dispatchEvent(new Event("input", {bubbles: true}));
  found.test_rows = seen("tr.view");
  found.test_patient = document.querySelector("tr.view:not(.off)").dataset.patient;
  const image = document.querySelector("tr.view:not(.off) img.depth"), box = image.getBoundingClientRect();
  image.dispatchEvent(new MouseEvent("mousemove", {bubbles: true, clientX: box.left + box.width * 0.405,
    clientY: box.top + box.height * 0.2625}));
  found.tip = document.getElementById("tip").textContent;
  image.parentElement.focus();
  for (const key of ["ArrowLeft", "ArrowLeft", "ArrowUp"])
    image.parentElement.dispatchEvent(new KeyboardEvent("keydown", {bubbles: true, key}));
  found.by_keys = document.getElementById("tip").textContent;
  const out = document.createElement("pre"); out.id = "found"; out.textContent = JSON.stringify(found);
  document.body.append(out);
});
</script>
"""


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium (Debian: apt-get install chromium)")
def test_a_browser_filters_and_reads_depth_from_disk(data, tmp_path):
    page = data.parent / "copy"
    shutil.copytree(data, page, dirs_exist_ok=True)
    # Not lazily, so that all pictures are there, or broken, when the page is.
    text = (data / "index.html").read_text().replace('loading="lazy"', "")
    script = re.search("<script>(.*)</script>", ACT, re.DOTALL)[1]
    own = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "script-src 'sha256-" in text  # the page's own script alone; here the test's too
    text = text.replace("script-src ", f"script-src 'sha256-{own}' ", 1)
    stray = "<script>document.getElementById('tip').textContent = 'stray'; document.title = 'stray'</script>"
    (page / "index.html").write_text(text + stray + ACT)
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--virtual-time-budget=5000", "--dump-dom", f"file://{page / 'index.html'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    found = json.loads(re.search(r'<pre id="found">(.*?)</pre>', done.stdout)[1])
    frame = open_dataset(data).select(split="test")[0]
    z = frame.geometry()["z_depth"][int(0.2625 * 40) * 2 + 1, int(0.405 * 50) * 2 + 1]
    by_keys = frame.geometry()["z_depth"][int(0.45 * 40) * 2 + 1, int(0.4 * 50) * 2 + 1]
    assert found == {
        "rows": 6,
        "pictures": 12,
        "without_plain": 6,
        "test_rows": 2,
        "test_patient": "p003",
        "tip": f"z {z:.2f} mm",
        "by_keys": f"z {by_keys:.2f} mm",
        "broken": 0,
        "title": "endorender dataset",
    }
