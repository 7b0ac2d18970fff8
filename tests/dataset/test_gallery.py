"""The gallery's figures, its choice of views, and the refusals of its command."""

import numpy as np
import pytest
from click.testing import CliRunner

from cli.main import main
from endorender.dataset.gallery import Measured, chosen, compared, gallery, measure, median, sheet
from endorender.errors import UserError
from endorender.scene import LOOKS, Mucosa
from endorender.scene.looks import PANELS
from tests.render.scenes import tube_scene


def test_figures_of_a_known_picture():
    """A grey ramp: percentiles are its levels, the lit wall its 60th to 95th percentile, the lumen its lowest tenth."""
    ramp = np.repeat(np.arange(200, dtype=np.uint8)[None, :, None], 3, axis=2)
    m = measure(np.repeat(ramp, 4, axis=0))
    np.testing.assert_allclose(m.luminance, [4, 20, 99.5, 179, 195], atol=1)
    np.testing.assert_allclose(m.lit, [154.5] * 3, atol=1)
    np.testing.assert_allclose(m.dark, [9.5] * 3, atol=1)
    bright = Measured((5.0,) * 5, (9.0, 1.0, 1.0), (0.0,) * 3)
    assert median([m, bright, bright]) == bright


def test_the_comparison_names_the_greatest_departures():
    p = PANELS["deep_red"]
    text = compared({"deep_red": Measured(p.luminance, (p.lit[0] - 7, *p.lit[1:]), p.dark)})
    assert "at most 0 % in luminance" in text.replace("0%", "0 %")
    assert "7 levels" in text
    assert set(PANELS) <= set(LOOKS)


def test_views_are_chosen_by_geometry_alone():
    scene = tube_scene()
    poses = []
    for x in (12.5, 13.2, 15.5):
        pose = scene.world_from_camera.copy()
        pose[0, 3] = x
        poses.append(pose)
    first = chosen(scene, np.array(poses), 1)
    assert len(first) == 1
    assert chosen(scene.with_(mucosa=Mucosa(), tissue=LOOKS["deep_red"].tissue), np.array(poses), 1) == first
    assert chosen(scene, np.array(poses), 3) == [0, 1, 2]


@pytest.mark.parametrize(("args", "words"), [(("--size", "4x4"), "WIDTHxHEIGHT"), (("--ct", "phantom:x"), "phantom")])
def test_mistakes_are_one_line(tmp_path, args, words):
    result = CliRunner().invoke(main, ["gallery", "--out", str(tmp_path / "g"), *args])
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "photo.jpg").write_text("holiday")
    result = CliRunner().invoke(main, ["gallery", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "something other" in result.stderr
    assert (tmp_path / "photo.jpg").read_text() == "holiday"


def test_the_sheet_says_which_look_and_view_each_picture_is():
    one, two = (np.full((30, 40, 3), level, np.uint8) for level in (80, 160))
    found = sheet([[one, two], [two, one]], ["pale_pink", "deep_red"], ["phantom 1\nview 0", "sample\nview 1"])
    assert (found[-30:, -40:] == 80).all()  # pictures keep every pixel
    assert (found[-66:-36, -40:] == 160).all()
    head, side = found[:-66], found[-66:, :-86]
    for part in (head[:, -86:-46], head[:, -40:], side[:30], side[36:]):
        assert part.min() < 100, "words stand there"
        assert np.median(part) == 255


def test_an_interrupted_gallery_is_begun_again_and_a_whole_one_is_kept(tmp_path, monkeypatch):
    picture = np.full((16, 20, 3), 0.2, np.float32)

    def views(stop):
        for n in range(2):
            if n == stop:
                raise KeyboardInterrupt
            yield "p001", n, dict.fromkeys(LOOKS, picture)

    monkeypatch.setattr("endorender.dataset.gallery.shots", lambda *args: views(1))
    with pytest.raises(KeyboardInterrupt):
        gallery(tmp_path / "g", ["phantom:1"])
    assert list((tmp_path / "g").iterdir())
    monkeypatch.setattr("endorender.dataset.gallery.shots", lambda *args: views(9))
    gallery(tmp_path / "g", ["phantom:1"])
    names = {p.name for p in (tmp_path / "g").iterdir()}
    assert names == {f"p001-{n}-{look}.png" for n in range(2) for look in LOOKS} | {"gallery.png", "comparison.json"}
    with pytest.raises(UserError, match="already"):
        gallery(tmp_path / "g", ["phantom:1"])
