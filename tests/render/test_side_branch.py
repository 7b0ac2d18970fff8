"""Branches towards emitters in forward scattering tissue: the same picture, with less noise."""

import numpy as np
import pytest

from endorender.render import radiance
from endorender.render.medium.traits import Traits
from endorender.render.transport import side_branch
from tests.render.reference import SCENES as REFERENCES
from tests.render.reference import build
from tests.render.test_volpath import SCENES, assert_same_image


def with_branches(monkeypatch, wanted, scene, spp, seed):
    monkeypatch.setattr(side_branch, "PEAK", -1 if wanted else 2)
    return radiance([scene], spp, seed)[0]


@pytest.mark.parametrize("name", ["interface_hg", "tabulated", "double_hg", "areas", "lamps", "limit"])
def test_branches_leave_the_picture_as_it_is(monkeypatch, name):
    """Walls, surfaces in the tissue, phase functions that vary, every kind of emitter; the last collision allowed."""
    scene = SCENES["lamps"]().with_(max_scatterings=2) if name == "limit" else SCENES[name]()
    spp = 4096 if name in ("lamps", "limit", "interface_hg") else 1024
    branching, plain = (with_branches(monkeypatch, wanted, scene, spp, 5 + wanted) for wanted in (True, False))
    assert_same_image(branching, plain)


def test_branches_halve_the_noise_of_forward_scattering(monkeypatch):
    """Variance of whole pictures: samples of a pixel are not independent."""
    scene = build(next(ref for ref in REFERENCES if ref.name == "a_g+0.9"))
    noise = [
        np.var([with_branches(monkeypatch, wanted, scene, 16, seed).mean for seed in range(8)], axis=0, ddof=1).mean()
        for wanted in (True, False)
    ]
    assert noise[0] < 0.5 * noise[1]


def test_where_nothing_scatters_forward_paths_do_not_branch():
    peaked = {"similar", "similar_hybrid", "similar_mucosa", "similar_chromatic"}  # by another rule after a while
    scenes = {name: make() for name, make in SCENES.items()}
    found = {name for name, scene in scenes.items() if side_branch.worth(scene, Traits.of(scene))}
    assert not found & peaked
    assert {"interface_hg"} <= found
    assert not found & {"interface", "mucosa", "outside", "map", "chromatic"}
