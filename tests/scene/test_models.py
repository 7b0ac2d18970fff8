"""Cameras, tissue, lights and the response: round trips, limits, and what they refuse."""

import numpy as np
import pytest

from endorender.engine import ti
from endorender.errors import UserError
from endorender.render import backend
from endorender.scene import (
    LOOKS,
    Endoscope,
    Response,
    Scene,
    Tissue,
    cameras,
    lights,
    mucosas,
    phase_functions,
    tissues,
)
from endorender.scene.camera import PARAMETERS
from endorender.scene.response import LUMA
from tests.render.scenes import tube, tube_scene


@pytest.mark.parametrize(("name", "case"), cameras.cases())
def test_project_inverts_unproject_on_host_and_device(name, case):
    camera = cameras.build({"type": name, **case})
    pixels = camera.pixels()
    d = camera.unproject(pixels)
    np.testing.assert_allclose(np.linalg.norm(d, axis=-1), 1, atol=1e-9)
    assert np.abs(camera.project(d * 17) - pixels).max() < 1e-3
    edge = camera.unproject(np.array([[-0.5, (camera.height - 1) / 2], [camera.width - 0.5, (camera.height - 1) / 2]]))
    assert np.degrees(np.arccos(edge[0] @ edge[1])) == pytest.approx(min(camera.fov, 360 - camera.fov), abs=1e-6)

    backend.ensure()
    ray = camera.device()
    flat = np.ascontiguousarray(pixels.reshape(-1, 2), np.float32)
    out = np.empty((len(flat), 3), np.float32)

    @ti.kernel
    def run(p: ti.types.ndarray(), uv: ti.types.ndarray(), o: ti.types.ndarray()):
        for i in range(o.shape[0]):
            w = ray(uv[i, 0], uv[i, 1], ti.Vector([p[k] for k in range(PARAMETERS)]))
            for c in ti.static(range(3)):
                o[i, c] = w[c]

    run(camera.parameters(), flat, out)
    np.testing.assert_allclose(out, d.reshape(-1, 3), atol=2e-5)


@pytest.mark.parametrize("registry", [cameras, lights, mucosas, tissues, phase_functions], ids=lambda r: r.kind)
def test_every_model_survives_the_round_trip_through_configuration(registry):
    for name, case in registry.cases():
        model = registry.build({"type": name, **case})
        assert registry.build(registry.dump(model)) == model
        assert type(model).__doc__


@pytest.mark.parametrize(
    ("registry", "spec", "words"),
    [
        (phase_functions, {"type": "hg", "g": 1.5}, "phase hg: g: .*less than 1, got 1.5"),
        (phase_functions, {"type": "mie"}, "no phase is called 'mie'; there are: hg, isotropic"),
        (tissues, {"type": "deep_red", "colour": 1}, "tissue deep_red: colour: unknown key"),
        (tissues, {"type": "custom", "hu": [0, 0]}, "entries|increase"),
        (tissues, {"type": "custom", "albedo": [[0.5, 0.5, 1.2]] * 4}, r"albedo must be in \[0, 1\]"),
        (cameras, {"type": "pinhole", "fov": 190}, "fov: .*less than 179"),
        (cameras, {"type": "fisheye", "k1": -1.0}, "folds the image over"),
        (lights, {"type": "endoscope", "colour": [1, -1, 1]}, "cannot be negative"),
        (mucosas, {"type": "procedural", "trunk": 0.03}, "trunk must be at least as wide as capillary"),
        (tissues, {"type": "mucosa_physical", "albedo": [[0.9] * 3]}, "albedo follows from blood"),
        (tissues, {"type": "deep_red", "vessel_albedo": [1.1, 0, 0]}, r"vessel_albedo must be in \[0, 1\]"),
        (lights, 3, "a light is a name or a mapping"),
    ],
)
def test_mistakes_are_one_line_that_names_the_key(registry, spec, words):
    with pytest.raises(UserError, match=words) as error:
        registry.build(spec)
    assert "\n" not in str(error.value)


def test_tissue_table_is_piecewise_linear():
    tissue = Tissue(hu=(-100, 100), sigma_t=(0, 4), albedo=((0.2, 0.4, 0.6), (0.6, 0.4, 0.2)), phase_parameter=(0, 0.8))
    np.testing.assert_allclose(
        tissue.table(np.array([-500.0, 0.0, 900.0])),
        [[0, 0, 0.2, 0.4, 0.6], [2, 0.4, 0.4, 0.4, 0.4], [4, 0.8, 0.6, 0.4, 0.2]],
        rtol=1e-6,
    )
    with pytest.raises(ValueError, match="less than 1"):
        Tissue(hu=(0,), sigma_t=(1,), albedo=((0, 0, 0),), phase_parameter=(1.2,))


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_automatic_exposure_meets_its_median(look):
    radiance = np.random.default_rng(0).lognormal(0, 1, (60, 80, 3)) * [1e3, 600, 300]
    fixed = look.response.resolve(radiance)
    picture = fixed.apply(radiance)
    assert abs(np.median(picture @ LUMA) - look.response.median) < 1.5
    assert fixed.resolve(radiance * 5) == fixed
    brighter = fixed.apply(radiance * 2) @ LUMA
    assert (brighter >= picture @ LUMA - 1e-9).all()


def test_a_black_picture_is_exposed_without_a_fuss():
    assert Response().apply(np.zeros((4, 4, 3))).max() <= 12


def test_guides_move_with_the_camera():
    pose = np.eye(4)
    pose[:3, :3] = [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    pose[:3, 3] = (10, 20, 30)
    e = Endoscope(guides=((1, 2, 0),), intensity=9, colour=(1, 0.5, 0)).emitters(pose)
    np.testing.assert_allclose(e.position, [[10, 21, 32]])
    np.testing.assert_allclose(e.axis, [[1, 0, 0]])
    np.testing.assert_allclose(e.intensity, [[9, 4.5, 0]])


def test_scene_round_trip_and_refusals():
    scene = tube_scene("hybrid", roughness=0.2)
    again = Scene.from_dict(tube(), scene.to_dict())
    assert again.to_dict() == scene.to_dict()
    with pytest.raises(UserError, match="unknown key 'colour'"):
        Scene.from_dict(tube(), {**scene.to_dict(), "colour": 1})
    with pytest.raises(UserError, match="rigid"):
        scene.with_(world_from_camera=np.diag([2.0, 1, 1, 1]))
    with pytest.raises(UserError, match="interface, hybrid or volume"):
        scene.with_(surface="glass")
