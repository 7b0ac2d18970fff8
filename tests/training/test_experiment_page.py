"""The page of an experiment's answer, without the experiment."""

from types import SimpleNamespace

from endorender.pages import template
from tests.pages import faults

INFO = {"experiment": "adapt", "preset": "small", "protocol": "0123456789abcdef", "parameters": {"seeds": 5}}
HEAD = ["setting", "arm", "seeds", "median abs_rel", "low", "high", "p", "verdict"]
ROW = ["today", "cinematic, last layer", 5, 0.0912, 0.081, 0.102, 0.013, "holds"]
DOT = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


def test_the_page_is_fit_for_phone_and_desktop_keyboard_and_screen_reader(tmp_path):
    answer = SimpleNamespace(claims=["Undecided."], tables={"adapt": (HEAD, [ROW] * 3)})
    told = {
        "claim": "A claim.",
        "versions": {"torch": "2"},
        "command": "endorender experiment adapt " + "--seed 0 " * 40,
    }
    page = tmp_path / "index.html"
    page.write_text(
        template("training", "experiment.html").render(info=INFO, answer=answer, pictures={"error by arm": DOT}, **told)
    )
    assert faults(page) == []


def test_faults_are_seen(tmp_path):
    page = tmp_path / "index.html"
    page.write_text(
        "<!doctype html><title>t</title><h3>a</h3><img src='x.png'><table><tr><th>h</th></tr></table><input>"
        "<p style='color: #aaa'>faint</p><div style='width: 2000px'>wide</div><a href='x' tabindex=3>x</a>"
    )
    found = "\n".join(faults(page))
    for words in (
        "scrolls sideways", "no language", "not one main", "not one h1", "skips a heading", "picture without words",
        "th without scope", "table without a name", "control without a label", "faint", "jumps the order",
    ):  # fmt: skip
        assert words in found, words
