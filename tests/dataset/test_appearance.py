"""How pictures look, in figures: the figures on pictures that are known, and those of the preset `clinical`."""

import numpy as np
import pytest

from endorender.dataset import configure, generate, open_dataset
from endorender.scene import cameras
from tests.benchmarks.appearance import measure, median


def canvas(colour=(150, 60, 50), size=(240, 320)):
    return np.tile(np.uint8(colour), (*size, 1))


def disk(picture, y, x, radius, level=255):
    yy, xx = np.indices(picture.shape[:2])
    picture[np.hypot(yy - y, xx - x) <= radius] = level


def test_glints_are_counted_with_their_size_and_shape():
    picture = canvas()
    for y, x in ((40, 50), (120, 200), (200, 90)):
        disk(picture, y, x, 5)
    found = measure(picture)
    assert found.glints == 3
    assert found.size == pytest.approx(10, abs=0.5)
    assert found.filled == pytest.approx(1, abs=0.05)
    assert found.burnt == 0
    half = measure(picture[::2, ::2])  # sizes are those in a picture 320 pixels wide
    assert (half.glints, half.size) == (3, pytest.approx(10, abs=1))


def test_lace_is_less_filled_than_a_disk_and_a_burnt_wall_is_no_glint():
    lace = canvas()
    disk(lace, 120, 160, 12)
    disk(lace, 120, 160, 9, (150, 60, 50))
    assert measure(lace).filled < 0.7
    burnt = canvas()
    burnt[:, :160] = 240
    found = measure(burnt)
    assert found.glints == 0
    assert found.burnt == pytest.approx(0.5, abs=0.01)


def test_saturation_follows_luminance_and_hidden_pixels_do_not_count():
    picture = np.concatenate([canvas((20 + 40 * n, 10 + 36 * n, 10 + 36 * n), (48, 320)) for n in range(5)])
    want = [1 - (10 + 36 * n) / (20 + 40 * n) for n in range(5)]
    found = measure(picture)
    np.testing.assert_allclose(found.saturation, want, atol=1e-6)
    assert found.shade == pytest.approx(0, abs=1e-6)
    assert measure(canvas((200, 100, 50))).lit == pytest.approx(20)
    seen = np.ones(picture.shape[:2], bool)
    seen[:48] = False
    dark = picture.copy()
    dark[:48] = 0
    assert measure(dark, seen).luminance[0] > 25 > measure(dark).luminance[0]
    rim = canvas((220, 160, 150))
    inside = np.hypot(*(np.indices(rim.shape[:2]) - [[[119.5]], [[159.5]]])) < 100
    rim[~inside] = 0
    disk(rim, 120, 160, 5)
    assert measure(rim, inside).glints == 1
    several = median([found, measure(canvas())])
    assert several.glints == 0
    assert np.isnan(several.size)


@pytest.mark.slow
def test_clinical_views_look_like_mucosa(tmp_path):
    """Of a living nose, dark to bright: saturation .80 .69 .61 .48 .18, hue 6 to 9 degrees, three glints in 320 pixels.

    The paper's looks in this place had .55 .46 .41 .40 .36, 19 degrees and 15 glints, 0.82 as full as an ellipse (ten
    views).
    """
    config = configure(
        ct=["phantom:1", "phantom:2"], preset="clinical", views=3, size="240x180", spp=8, denoise=True, seed=3
    )
    frames = open_dataset(generate(config, tmp_path / "data")).frames
    found = median([measure(f.image(), cameras.build(f.camera).visible()) for f in frames])
    assert (np.diff(found.saturation) < 0).all()
    assert found.saturation[0] > 0.62
    assert found.saturation[0] - found.saturation[4] > 0.1
    assert 0 < found.shade < 16
    assert found.luminance[0] < 60
    assert found.glints <= 10
    assert found.filled > 0.84
