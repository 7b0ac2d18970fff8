"""Cameras, tissue, lights and the response: round trips, limits, and what they refuse."""

import json

import numpy as np
import pytest

from endorender.engine import ti
from endorender.errors import UserError
from endorender.render.device import backend
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
    outside = camera.border()
    assert np.abs(camera.project(camera.unproject(outside)) - outside).max() < 1e-3
    fov = getattr(camera, "fov", None)
    if fov is not None:
        middle = (camera.height - 1) / 2
        edge = camera.unproject(np.array([[-0.5, middle], [camera.width - 0.5, middle]]))
        assert np.degrees(np.arccos(edge[0] @ edge[1])) == pytest.approx(min(fov, 360 - fov), abs=1e-6)

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
        (phase_functions, {"type": "mie"}, "no phase is called 'mie'; there are: cornette_shanks, .*hg, .*isotropic"),
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
    tissue = Tissue(
        hu=(-100, 100),
        sigma_t=(0, 4),
        albedo=((0.2, 0.4, 0.6), (0.6, 0.4, 0.2)),
        phase_parameters={"g": (0, 0.8)},
    )
    np.testing.assert_allclose(
        tissue.table(np.array([-500.0, 0.0, 900.0])),
        [[0, 0, 0.2, 0.4, 0.6], [2, 0.4, 0.4, 0.4, 0.4], [4, 0.8, 0.6, 0.4, 0.2]],
        rtol=1e-6,
    )


POINT = {"hu": (-100, 100), "sigma_t": (0, 4), "albedo": ((0.5, 0.5, 0.5),) * 2}


@pytest.mark.parametrize("name", list(phase_functions))
def test_parameters_of_every_phase_function_vary_along_hu(name):
    """Linear as users know them, then what the device wants at each HU: a scene-wide phase of that value gives it."""
    cases = [case for n, case in phase_functions.cases() if n == name]
    phases = [phase_functions.build({"type": name, **case}) for case in (cases[0], cases[-1])]
    names = phases[0].PARAMETERS
    varying = {n: [getattr(p, n) for p in phases] for n in names}
    tissue = Tissue(**POINT, phase=phases[0], phase_parameters=varying)
    half = phase_functions.build({"type": name, **cases[0], **{n: sum(v) / 2 for n, v in varying.items()}})
    table = tissue.table(np.array([-300.0, 0.0, 300.0]))
    assert table.shape == (3, 1 + half.FLOATS + 3)
    np.testing.assert_allclose(table[1, 1:-3], half.parameters(), rtol=1e-6)
    if names:
        np.testing.assert_allclose(table[2, 1:-3], phases[1].parameters(), rtol=1e-6)
    assert tissues.build(tissues.dump(tissue)) == tissue
    assert hash(tissues.build(tissues.dump(tissue))) == hash(tissue)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"phase": "hg", "phase_parameters": {"g": (0.5, 1.2)}}, "phase_parameters: g: .*less than 1, got 1.2"),
        ({"phase": "hg", "phase_parameters": {"g": (0.5,)}}, "phase_parameters.g has 1 entries for 2 control points"),
        ({"phase": "hg", "phase_parameters": {"w": (0, 0)}}, "w does not vary; of the phase hg can: g"),
        ({"phase": "rayleigh", "phase_parameters": {"g": (0, 0)}}, "of the phase rayleigh can: nothing"),
        ({"phase": "double_hg", "phase_parameters": {"w": (0, -1)}}, "w: .*greater than or equal to 0, got -1"),
    ],
)
def test_phase_parameters_are_refused_by_the_phase_they_are_of(changes, words):
    with pytest.raises(UserError, match=words) as error:
        tissues.build({"type": "custom", **POINT, **changes})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"surface_parameters": {"roughness": (0.1, 1.2)}}, "surface_parameters: roughness: .*equal to 1, got 1.2"),
        ({"surface_parameters": {"ior": (0.9, 1.2)}}, "surface_parameters: ior: .*equal to 1, got 0.9"),
        (
            {"surface_parameters": {"specular": (0.5,)}},
            "surface_parameters.specular has 1 entries for 2 control points",
        ),
        ({"surface_parameters": {"wall_hu": (0, 0)}}, "wall_hu does not vary; can: roughness, specular, ior"),
        ({"gradient": (0, 100)}, "gradient and gradient_opacity need each other"),
        ({"gradient": (0, 100), "gradient_opacity": (1,)}, "gradient_opacity has 1 entries for 2 points"),
        ({"gradient": (100, 100), "gradient_opacity": (1, 0)}, "gradient must be >= 0 and increase"),
        ({"gradient": (-1, 100), "gradient_opacity": (1, 0)}, "gradient must be >= 0 and increase"),
        ({"gradient": (0, 100), "gradient_opacity": (1, 1.1)}, r"gradient_opacity must be in \[0, 1\]"),
    ],
)
def test_maps_that_cannot_be_are_refused(changes, words):
    with pytest.raises(UserError, match=words) as error:
        tissues.build({"type": "custom", **POINT, **changes})
    assert "\n" not in str(error.value)


def test_coat_and_opacity_are_piecewise_linear():
    tissue = Tissue(
        **POINT,
        surface_parameters={"ior": (1.2, 1.6), "roughness": (0.2, 0.4)},
        gradient=(10, 20),
        gradient_opacity=(0, 0.5),
    )
    np.testing.assert_allclose(tissue.coats(np.array([-200.0, 50.0])), [[0.2, 0.7, 1.2], [0.35, 0.7, 1.5]], rtol=1e-6)
    np.testing.assert_allclose(tissue.opacities(np.array([0.0, 15.0, 30.0])), [0, 0.25, 0.5])
    assert not tissue.shares_paths(Tissue(**POINT))


def test_only_tissues_with_the_same_phase_parameters_share_paths():
    one = Tissue(**POINT, phase_parameters={"g": (0, 0.8)})
    assert one.shares_paths(one.model_copy(update={"albedo": ((0.1, 0.1, 0.1),) * 2}))
    assert not one.shares_paths(Tissue(**POINT, phase_parameters={"g": (0, 0.7)}))
    assert not one.shares_paths(Tissue(**POINT))


@pytest.mark.parametrize(
    "text", ["-1 1\n0 2\n1 9\n", "cos,value\n1,9\n0;2 # forward last\n\n-1, 1", "\ufeff1 9\n0 2\n-1 1"]
)
def test_a_table_read_from_a_file_is_embedded(text, tmp_path):
    file = tmp_path / "mueller.csv"
    file.write_text(text, encoding="utf-8")
    phase = phase_functions.build({"type": "tabulated", "file": str(file)})
    file.unlink()
    told = json.dumps(phase_functions.dump(phase))
    assert "mueller" not in told
    again = phase_functions.build(json.loads(told))
    assert again == phase
    np.testing.assert_array_equal(phase.data()[:, 0], [1, 0, -1])
    np.testing.assert_allclose(phase.data()[:, 1], np.array([9, 2, 1]) / 7)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"file": "none.csv"}, "cannot read none.csv: no such file"),
        ({"file": "bad.csv"}, "bad.csv, line 2: must be two numbers"),
        ({"file": "empty.csv"}, "empty.csv holds no numbers"),
        ({"file": "bad.csv", "values": [1, 1]}, "either file, or cos_theta and values"),
        ({"cos_theta": [-1, 1], "values": [1]}, "2 cos_theta for 1 values"),
        ({"cos_theta": [-1, 0.9], "values": [1, 1]}, "must reach from -1 to 1"),
        ({"cos_theta": [-1, 0.5, 0.5, 1], "values": [1, 1, 1, 1]}, "must differ"),
        ({"cos_theta": [-1, 1], "values": [1, -1]}, "values must be >= 0"),
        ({"cos_theta": [-1, 1], "values": [0, 0]}, "not all 0"),
        ({"cos_theta": [-1, 1], "values": [0, float("inf")]}, "finite"),
        ({}, "cos_theta: missing"),
    ],
)
def test_tables_that_are_no_density_are_refused(spec, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.csv").write_text("-1 1\n0\n1 1")
    (tmp_path / "empty.csv").write_text("# nothing\n")
    with pytest.raises(UserError, match=words) as error:
        phase_functions.build({"type": "tabulated", **spec})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_automatic_exposure_meets_its_target(look):
    radiance = np.random.default_rng(0).lognormal(0, 1, (60, 80, 3)) * [1e3, 600, 300]
    fixed = look.response.resolve(radiance)
    picture = fixed.apply(radiance)
    assert abs(np.percentile(picture @ LUMA, 75) - look.response.target) < 1.5
    assert fixed.resolve(radiance * 5) == fixed
    brighter = fixed.apply(radiance * 2) @ LUMA
    assert (brighter >= picture @ LUMA - 1e-9).all()


PLAIN = {"exposure": 1.0, "contrast": 1.0, "veil": (0, 0, 0)}


def test_noise_is_that_of_counted_electrons():
    """Before the tone curve: mean the level, variance level / full_well + (read_noise / full_well)²; then encoded."""
    response = Response(**PLAIN, full_well=4000, read_noise=12, gamma=1)
    level = np.full((400, 400, 3), [0.02, 0.1, 0.4])
    picture = response.apply(level, seed=3).astype(float) / 255
    expected = np.sqrt(level[0, 0] / 4000 + (12 / 4000) ** 2 + 1 / 12 / 255**2)
    np.testing.assert_allclose(picture.mean((0, 1)), level[0, 0], atol=1e-4)
    np.testing.assert_allclose(picture.std((0, 1)), expected, rtol=0.01)
    # Neighbours and channels are independent.
    flat = (picture - picture.mean((0, 1))) / picture.std((0, 1))
    assert abs((flat[:, 1:] * flat[:, :-1]).mean()) < 0.01
    assert abs((flat[..., 0] * flat[..., 1]).mean()) < 0.01


def test_noise_follows_from_its_seed_alone():
    response = Response(**PLAIN, full_well=500)
    level = np.full((30, 40, 3), 0.2)
    assert np.array_equal(response.apply(level, seed=1), response.apply(level, seed=1))
    assert not np.array_equal(response.apply(level, seed=1), response.apply(level, seed=2))
    with pytest.raises(ValueError, match="needs a seed"):
        response.apply(level)
    quiet = Response(**PLAIN)
    assert np.array_equal(quiet.apply(level), quiet.apply(level, seed=1))
    # Beyond the full well a pixel reads the same however bright.
    bright = np.array([[[1.5, 3e3, 1e30]]])
    assert np.ptp(Response(**PLAIN, full_well=1e6, gamma=1).apply(bright, seed=1)) <= 1


def test_white_balance_gamma_and_srgb():
    grey = np.full((2, 2, 3), 0.2)
    balanced = Response(**PLAIN, white_balance=(1.5, 1, 0.5), gamma=2.2).apply(grey)
    np.testing.assert_array_equal(balanced[0, 0], np.round(255 * np.array([0.3, 0.2, 0.1]) ** (1 / 2.2)))
    np.testing.assert_array_equal(Response(**PLAIN).apply(grey)[0, 0], [124] * 3)  # sRGB of 0.2
    # Exposure is set on what is shown, whatever the gains.
    radiance = np.random.default_rng(0).lognormal(0, 1, (60, 80, 3))
    for gains in ((1, 1, 1), (2.0, 1.0, 0.4)):
        response = Response(white_balance=gains, gamma=2.0, target=80)
        assert abs(np.percentile(response.apply(radiance) @ LUMA, 75) - 80) < 1.5


def test_jpeg_leaves_its_marks_and_little_else():
    y, x = np.mgrid[:64, :96] / 64
    smooth = np.stack([0.2 + 0.1 * np.sin(5 * x), 0.2 + 0.1 * y, 0.3 * x * y], -1)
    exact = Response(**PLAIN).apply(smooth).astype(int)
    errors = [np.abs(Response(**PLAIN, jpeg_quality=q).apply(smooth).astype(int) - exact).mean() for q in (95, 75, 10)]
    assert 0 < errors[0] < errors[1] < errors[2]
    assert errors[0] < 2
    assert Response(**PLAIN, jpeg_quality=90).apply(smooth).shape == exact.shape


def test_outside_the_mask_it_is_black_and_counts_for_nothing():
    radiance = np.random.default_rng(0).lognormal(0, 1, (60, 80, 3))
    mask = np.zeros((60, 80), bool)
    mask[10:50, 20:60] = True
    response = Response(full_well=1000, read_noise=20)
    picture = response.apply(np.where(mask[..., None], radiance, 0), 1, mask)
    assert (picture[~mask] == 0).all()
    assert response.resolve(np.where(mask[..., None], radiance, 1e9), mask) == response.resolve(radiance, mask)
    quiet = Response().apply(np.where(mask[..., None], radiance, 0), mask=mask)
    assert abs(np.percentile(quiet[mask] @ LUMA, response.metered) - response.target) < 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"read_noise": 3}, "give full_well"),
        ({"white_balance": (1, 0, 1)}, "above 0"),
        ({"jpeg_quality": 101}, "less than or equal to 100"),
        ({"gamma": 0}, "greater than or equal"),
    ],
)
def test_a_response_that_cannot_be_is_refused(values, words):
    with pytest.raises(ValueError, match=words):
        Response(**values)


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


def test_highlights_keep_as_much_of_their_hue_as_is_asked_for():
    near = np.full((4, 4, 3), (2.0, 1.0, 0.5))

    def linear(hue):
        return (Response(**PLAIN, hue=hue, gamma=1).apply(near)[0, 0] / 255.0).tolist()

    kept, half, bleached = (np.array(linear(h)) for h in (1.0, 0.5, 0.0))
    np.testing.assert_allclose(kept / kept[0], (1, 0.5, 0.25), atol=0.01)
    assert bleached[1] / bleached[0] > 0.8
    np.testing.assert_allclose(half, (kept + bleached) / 2, atol=0.005)
    dim = near / 8
    np.testing.assert_array_equal(Response(**PLAIN, hue=1).apply(dim), Response(**PLAIN, hue=0).apply(dim))
