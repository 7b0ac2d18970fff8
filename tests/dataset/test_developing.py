"""Named responses: real scopes' figures over many views; the video that `clinical` draws; a fit refuses a lens."""

import json
from pathlib import Path

import numpy as np
import pytest

from endorender.dataset import configure
from endorender.dataset.developing import RESPONSES, Developer
from endorender.dataset.variation import PRESETS, draw
from endorender.errors import UserError
from endorender.scene import LOOKS, Response
from endorender.scene.response import LUMA

REFS = Path(__file__).parents[1] / "refs"

# Percentiles of display luminance, measured on real frames; `sinuscope` has but two.
REAL = {
    "colonoscope": {2: 37, 10: 89, 50: 151, 90: 203, 98: 237},
    "bronchoscope": {2: 37, 10: 55, 50: 109, 90: 168, 98: 179},
    "sinuscope": {5: 20, 50: 110},
}
LEVELS = 20  # of 255, by which the median over views may differ: views and anatomies are other ones


def shown(response):
    """28 pictures: radiance of three phantom colons (four views each) and the airway (two), plain and traced."""
    held = np.load(REFS / "lumens.npz")
    return [response.apply(x.astype(np.float32), seed=k) for k, x in enumerate([*held["learn"], *held["airway"]])]


def percentiles(pictures, wanted):
    return np.median([np.percentile(picture @ LUMA, list(wanted)) for picture in pictures], axis=0)


@pytest.mark.parametrize("name", REAL)
def test_pictures_are_as_bright_and_as_flat_as_real_scopes(name):
    wanted = REAL[name]
    pictures = shown(Response(**RESPONSES[name][1]))
    np.testing.assert_allclose(percentiles(pictures, wanted), list(wanted.values()), atol=LEVELS)
    burnt = np.mean([(picture.max(-1) == 255).mean() for picture in pictures])
    least, most = {"colonoscope": (0.05, 0.15), "bronchoscope": (0, 1e-3), "sinuscope": (0.01, 0.1)}[name]
    assert least <= burnt < most
    # The looks of the paper are further away: this test can fail.
    if len(wanted) > 2:  # two figures some look meets
        off = [
            np.abs(percentiles(shown(look.response), wanted) - list(wanted.values())).max() for look in LOOKS.values()
        ]
        assert min(off) > LEVELS


def test_a_name_stands_for_a_response_in_a_configuration():
    held = configure(ct="phantom:1", response="colonoscope").response
    assert held == configure(ct="phantom:1", response={"type": "colonoscope"}).response
    assert held["target"] == 151
    assert configure(ct="phantom:1", response="colonoscope:target=140").response == {**held, "target": 140}
    drawn = configure(ct="phantom:1", response="scopes").response  # its mask is for pictures developed anew
    assert "mask" not in drawn
    assert drawn["target"] == RESPONSES["scopes"][1]["target"]
    assert configure(ct="phantom:1", response="full_well=5000,read_noise=8").response["read_noise"] == 8
    with pytest.raises(UserError, match="did you mean 'colonoscope'"):
        configure(ct="phantom:1", response="colonscope")


def test_clinical_draws_a_video_and_paper4_none():
    (clinical,) = PRESETS["clinical"]
    config = configure(ct="phantom:1", preset="clinical")
    found = [draw(clinical, config.light, np.random.default_rng(k), view=k)["response"] for k in range(40)]
    for key in ("vignette", "aperture", "focus", "chroma_noise", "white"):
        assert len({f[key] for f in found}) > 30
    assert len({f["jpeg_quality"] for f in found}) == 5
    assert all(json.dumps(f) for f in found)
    assert config.camera["mask"] == {"choice": ["none", "corners", "octagon", "circle"]}
    for look in PRESETS["paper4"][1:]:
        response = LOOKS[look.look].response
        assert (response.vignette, response.aperture, response.chroma_noise, response.white) == (0, 0, 0, 1)


@pytest.mark.parametrize("values", [{"vignette": 0.2}, {"aperture": 0.1}])
def test_a_fit_refuses_a_lens_that_it_does_not_model(values):
    torch = pytest.importorskip("torch")
    from endorender.inverse import Response as Learnt
    from endorender.inverse.target import linear

    with pytest.raises(UserError, match="no vignette and no defocus"):
        Learnt(Response(exposure=1, **values))
    white = Response(exposure=1, white=0.7, hue=0.3, veil=(0.01, 0, 0))
    light = np.random.default_rng(0).uniform(0.01, 0.4, (50, 3))
    levels = Learnt(white)(torch.from_numpy(light)).detach().numpy()
    np.testing.assert_allclose(levels * 255, white.apply(light[None])[0], atol=0.51)
    np.testing.assert_allclose(linear(levels, white), light, rtol=1e-4)


def test_scopes_span_real_ones_and_neither_burn_out_nor_drown():
    held = np.load(REFS / "lumens.npz")
    views = [np.ascontiguousarray(x.transpose(2, 0, 1)) for x in (*held["learn"], *held["airway"])]
    develop, far = Developer("scopes", (32, 48)), np.full((32, 48), 20, np.float32)
    found = []
    for k in range(500):
        picture, seen = develop([7, k], views[k % len(views)], far, 24.0)
        luma = np.tensordot(LUMA, picture, 1)
        found.append(np.percentile(luma if seen is None else luma[seen], [2, 50, 98]))
    low, middle, high = np.array(found).T
    assert 35 < middle.min() < 80  # of the three scopes 109, 110 and 151
    assert 151 < middle.max() < 190
    assert np.percentile(low, 10) < 37 < np.percentile(low, 90)
    assert np.percentile(high, 10) < 179 < 237 < np.percentile(high, 98)
