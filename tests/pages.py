"""What is wrong with a page on phone and desktop, for eyes, keyboard and screen reader. By a headless Chromium."""

import shutil
from pathlib import Path

import pytest

WIDTHS = {390: 844, 1280: 800}
LOOK = """() => {
  const all = (q, e = document) => [...e.querySelectorAll(q)], told = e => `${e.tagName} ${e.className}`.trim();
  const seen = e => e.checkVisibility({visibilityProperty: true}) && e.getClientRects().length;
  const page = document.documentElement, wrong = [];
  const check = (met, what) => { if (!met) wrong.push(what); };
  check(page.scrollWidth <= innerWidth, `scrolls sideways: ${page.scrollWidth} px`);
  check(page.lang, "names no language"); check(document.title, "has no title");
  check(all("main").length === 1, "has not one main part"); check(all("h1").length === 1, "has not one h1");
  const levels = all("h1, h2, h3, h4, h5, h6").map(e => +e.tagName[1]);
  check(levels.every((l, n) => l <= (n ? levels[n - 1] : 0) + 1), `skips a heading's level: ${levels}`);
  for (const e of all("img")) check(e.getAttribute("alt"), `picture without words: ${told(e)}`);
  for (const e of all("th")) check(e.scope, `th without scope: ${e.textContent}`);
  for (const e of all("table")) check(e.caption || e.ariaLabel, "table without a name");
  for (const e of all("a"))
    check(e.textContent.trim() || all("img[alt]", e).length || e.ariaLabel, `link without words: ${e.href}`);
  for (const e of all("input, select, textarea"))
    check(e.labels.length || e.ariaLabel, `control without a label: ${told(e)}`);
  for (const e of all("[tabindex]")) check(e.tabIndex <= 0, `jumps the order of the focus: ${told(e)}`);
  for (const e of all("body *")) {
    const scrolls = e.scrollWidth > e.clientWidth + 1 && ["auto", "scroll"].includes(getComputedStyle(e).overflowX);
    check(!scrolls || e.tabIndex >= 0, `scrolls, and not by keys: ${told(e)}`);
  }
  // WCAG 2.2, 1.4.3: text against what lies behind it, 4.5, large text 3.
  const parts = colour => (colour.match(/[\\d.]+/g) || []).map(Number);
  const light = c => c.slice(0, 3).map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, n) => sum + v * [.2126, .7152, .0722][n], 0);
  for (const e of all("body *")) {
    if (!seen(e) || ![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
    let behind = e, back = [255, 255, 255];
    for (; behind; behind = behind.parentElement) {
      const c = parts(getComputedStyle(behind).backgroundColor);
      if (c.length && (c.length < 4 || c[3] === 1)) { back = c; break; }
    }
    const style = getComputedStyle(e), size = parseFloat(style.fontSize);
    const [low, high] = [light(parts(style.color)), light(back)].sort((a, b) => a - b);
    const ratio = (high + .05) / (low + .05), large = size >= 24 || (size >= 18.66 && +style.fontWeight >= 700);
    check(ratio >= (large ? 3 : 4.5), `faint (${ratio.toFixed(1)}): ${told(e)} ${e.textContent.trim().slice(0, 30)}`);
  }
  return wrong;
}"""


def browser():
    """Playwright, and where Chromium is; skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'endorender[dev]'")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed: apt install chromium")
    return playwright, chromium


def faults(path, shots=None):
    """Words for each fault of the page in the file `path`, with the width; skips where there is no browser.

    shots: a folder for screenshots of all of it, NAME_WIDTH.png.
    """
    playwright, chromium = browser()
    found = []
    with playwright.sync_playwright() as driver:
        shown = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for width, height in WIDTHS.items():
            phone = width < 600
            page = shown.new_page(viewport={"width": width, "height": height}, is_mobile=phone, has_touch=phone)
            page.set_default_timeout(300_000)
            page.goto(Path(path).absolute().as_uri())
            found += [f"{width} px: {what}" for what in dict.fromkeys(page.evaluate(LOOK))]
            if shots:
                page.screenshot(
                    path=Path(shots) / f"{Path(path).parent.name}_{Path(path).stem}_{width}.png", full_page=True
                )
            page.close()
        shown.close()
    return found
