"""Test sets by foreign renderers (tests/benchmarks): conventions, looks, and how a set is written and gone on with."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from endorender.dataset.layouts import open_data
from endorender.scene import Pinhole
from endorender.viewer.shapes import Mesh
from tests.benchmarks import cycles_looks as looks
from tests.benchmarks import foreign_set

CAMERA = Pinhole(width=40, height=30, fx=24.0, cx=22.3, cy=12.1)  # its principal point well off the middle
POSE = np.eye(4)
POSE[:3, :3], POSE[:3, 3] = Rotation.from_euler("xyz", [0.4, -0.9, 2.0]).as_matrix(), (3.0, -5.0, 7.0)


def seen_by_blender(points, world, lens, shift_x, shift_y, width, height):
    """(N, 3) world -> (N, 2) pixels: Blender's manual of cameras, with pixel centres on whole numbers.

    Cameras look along -z, y up. A sensor 36 mm wide lies `lens` behind the pinhole, moved by shifts in its widths.
    """
    x, y, z = (np.linalg.inv(world) @ np.c_[points, np.ones(len(points))].T)[:3]
    across, up = (lens / 36 * a / -z - shift for a, shift in ((x, shift_x), (y, shift_y)))
    return np.stack([(across + 0.5) * width, height / 2 - up * width], -1) - 0.5


def test_blenders_camera_sees_what_ours_sees():
    rng = np.random.default_rng(0)
    here = rng.uniform((-8, -8, 4), (8, 8, 30), (50, 3))
    points = here @ POSE[:3, :3].T + POSE[:3, 3]
    world = looks.camera_to_world(POSE)
    assert np.linalg.det(world[:3, :3]) == pytest.approx(1)
    theirs = seen_by_blender(points, world, **looks.lens(CAMERA), width=CAMERA.width, height=CAMERA.height)
    assert np.allclose(theirs, CAMERA.project(here), atol=1e-9)


def test_blender_has_square_pixels():
    with pytest.raises(ValueError, match="square"):
        looks.lens(Pinhole(width=40, height=30, fx=24.0, fy=25.0))


def test_the_wall_faces_the_lumen():
    # A tetrahedron around the lumen, counter-clockwise as seen from outside.
    vertices = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], np.float32)
    faces = np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])
    for turn, outward in ((faces, True), (looks.facing_lumen(Mesh(vertices, faces)), False)):
        a, b, c = (vertices[turn[:, k]] for k in range(3))
        assert (((np.cross(b - a, c - a) * a).sum(-1) > 0) == outward).all()


def test_lamps_stand_where_they_were_drawn_and_lean_towards_the_axis():
    lamp = looks.Lamp("AREA", (1.5, 2.0), 1.0, 160.0, 9.0, 1.0, (1.0, 1.0, 1.0))
    camera_from_lamp = looks.BLENDER @ looks.lamp_on_camera(lamp)  # OpenCV axes
    assert np.allclose(camera_from_lamp[:3, 3], (1.5, 2.0, 0))
    assert np.allclose(camera_from_lamp[:3, :3] @ camera_from_lamp[:3, :3].T, np.eye(3))
    assert np.linalg.det(looks.lamp_on_camera(lamp)[:3, :3]) == pytest.approx(1)
    shines = -camera_from_lamp[:3, 2]
    assert shines[2] == pytest.approx(np.cos(np.radians(9)))
    assert np.allclose(shines[:2], np.sin(np.radians(9)) * np.array([-0.6, -0.8]))


def test_looks_are_drawn_by_patient():
    drawn = [looks.draw(np.random.default_rng([1, n])) for n in range(200)]
    assert drawn[3] == looks.draw(np.random.default_rng([1, 3]))
    assert len({(look.base, look.fov, look.key) for look in drawn}) == 200
    assert {look.tone for look in drawn} == set(looks.TONES)
    assert {look.mask for look in drawn} == set(looks.MASKS)
    assert {len(look.lamps) for look in drawn} == {2, 3}
    assert {lamp.kind for look in drawn for lamp in look.lamps} == {"AREA", "SPOT"}
    for look in drawn:
        assert json.loads(json.dumps(look.told()))["lamps"][1]["watt"] == look.lamps[1].watt
        for colour in (look.base, look.second, look.flush, look.vessel, *(lamp.colour for lamp in look.lamps)):
            assert min(colour) > 0
            assert max(colour) <= 1
        assert look.base[0] > look.base[1] > look.base[2]  # flesh, and light goes deepest in red
        assert look.radius[0] > max(look.radius[1:])
        # Beside the lens and no farther from it than poses keep from the wall.
        assert all(0.5 < np.hypot(*lamp.at) + lamp.size / 2 < looks.CLEARANCE_MM + 0.1 for lamp in look.lamps)
        camera = look.camera(160, 120)
        assert camera.K[0, 2] == pytest.approx(79.5 + 160 * look.off_centre[0])
        assert 2 * np.degrees(np.arctan(80 / camera.K[0, 0])) == pytest.approx(look.fov)
        assert camera.visible().mean() > 0.6
        assert camera.visible().all() == (look.mask == "none")


def test_exposure_control_undoes_a_gain_and_sees_nothing_behind_the_mask():
    look = looks.draw(np.random.default_rng(5))
    rng = np.random.default_rng(0)
    linear, seen = rng.uniform(0.01, 1, (30, 40, 3)), CAMERA.model_copy(update={"mask": "circle"}).visible()
    stops = looks.stops(linear, look, seen)
    assert looks.stops(4 * linear, look, seen) == pytest.approx(stops - 2)
    assert looks.stops(np.where(seen[..., None], linear, 99), look, seen) == stops


def test_the_video_chain_keeps_the_picture_and_blackens_the_mask():
    seen = CAMERA.model_copy(update={"mask": "circle"}).visible()
    shown = np.broadcast_to(np.linspace(0.2, 0.7, 40)[:, None] * (1.0, 0.7, 0.6), (30, 40, 3))
    for n in range(8):
        look = looks.draw(np.random.default_rng([2, n]))
        image = looks.video(shown, look, seen, np.random.default_rng(n))
        assert image.dtype == np.uint8
        assert image.shape == (30, 40, 3)
        assert np.array_equal(image, looks.video(shown, look, seen, np.random.default_rng(n)))
        assert (image[~seen] == 0).all()
        # Brighter to the right, as it was given, and about as bright.
        column = image[8:22, 8:32].mean((0, 2)) / 255
        assert np.corrcoef(column, shown[0, 8:32].mean(-1))[0, 1] > 0.9
        assert np.abs(column.mean() - shown[0, 8:32].mean()) < 0.06


@pytest.fixture
def made_up(monkeypatch):
    """Phantoms without a phantom, and a renderer that draws the view's number and a slanted wall."""
    monkeypatch.setattr(
        foreign_set,
        "phantom",
        lambda n: foreign_set.Phantom(None, {"ct_sha256": f"{n:064x}", "voxels_sha256": "0" * 64}),
    )
    shot = []

    def patient_of(number, own, views):
        camera = CAMERA.model_copy(update={"mask": "circle"})
        poses = np.tile(POSE, (views, 1, 1))

        def shoot(n):
            if patient_of.broken == (number, n):
                raise KeyboardInterrupt
            shot.append((number, n))
            z = np.where(camera.visible(), camera.pixels()[..., 0] * 6.0 + 1, np.nan)  # up to 235 mm
            return np.full((30, 40, 3), 10 * n + number, np.uint8), z, {"checked": n}

        return foreign_set.Patient(camera, poses, shoot, {"gloss": number})

    patient_of.broken = None
    return SimpleNamespace(patient_of=patient_of, shot=shot)


def made(out, doing, settings=None, patients=("3", "4")):
    asked = foreign_set.arguments("", range(9), 2, [str(out), *patients, "--views", "2"])
    foreign_set.make(asked, "tested", settings or {"spp": 1}, doing.patient_of)


def test_a_set_is_written_whole_and_gone_on_with(tmp_path, made_up):
    out = tmp_path / "set"
    made_up.patient_of.broken = (4, 0)
    with pytest.raises(KeyboardInterrupt):
        made(out, made_up)
    assert not out.exists()
    with pytest.raises(SystemExit, match="other settings"):
        made(out, made_up, {"spp": 2})
    made_up.patient_of.broken = None
    made(out, made_up)
    assert made_up.shot == [(3, 0), (3, 1), (4, 0), (4, 1)]  # none of them twice
    with pytest.raises(SystemExit, match="there already"):
        made(out, made_up)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]

    frames = open_data(f"simcol3d@{out}").frames
    assert [(f.patient, f.view) for f in frames] == [("t003", 0), ("t003", 1), ("t004", 0), ("t004", 1)]
    assert {f.variation for f in frames} == {"tested"}
    assert frames[2].volume["ct_sha256"] == f"{4:064x}"  # a network that was trained on phantom:4 is not judged on it
    assert (frames[3].image() == 14).all()
    assert np.allclose(frames[0].K, CAMERA.K)
    assert np.allclose(frames[0].world_from_camera, POSE)
    geometry = frames[0].geometry()
    truth = CAMERA.pixels()[..., 0] * 6.0 + 1
    seen = CAMERA.model_copy(update={"mask": "circle"}).visible() & (truth <= 200)
    assert np.array_equal(geometry["mask"], seen)  # neither the mask's black nor what lies too deep for the layout
    assert np.abs(geometry["z_depth"] - truth)[seen].max() < 0.0017
    facts = json.loads((out / foreign_set.SET).read_text())
    assert facts["spp"] == 1
    assert facts["patients"]["t004"]["gloss"] == 4
    assert [view["checked"] for view in facts["patients"]["t004"]["views"]] == [0, 1]


def test_cycles_sees_the_wall_where_we_do():
    """Poses, winding, lens: Cycles' Z pass against our depth, and against that of cameras that are a little wrong."""
    pytest.importorskip("bpy", reason="runs where bpy is installed: pip install 'endorender[bench]' with Python 3.11")
    from endorender.render import geometry
    from endorender.scene import Endoscope, Scene
    from tests.benchmarks import cycles

    own = foreign_set.phantom(9001)
    look = looks.draw(np.random.default_rng(0))
    camera = Pinhole(width=64, height=48, fx=30.0, cx=35.1, cy=20.2)
    pose = cycles.flight(own, 9001, 3)[1]
    studio = cycles.Studio(
        cycles.load_bpy(), cycles.shapes.wall(own.ready.volume, own.ready.lumen, 10**9), look, camera
    )
    studio.aim(pose)
    theirs = studio.render(1, 0, denoise=False, filter_width=0.01)["z"]

    def ours(**other):
        scene = Scene(
            own.ready.volume, camera.model_copy(update=other), pose, (Endoscope(),), threshold=own.ready.lumen.threshold
        )
        return geometry(scene).z_depth

    right = cycles.off(theirs, ours())
    assert right < 0.001
    for wrong in ({"cx": 35.6}, {"cy": 20.7}, {"cx": 63 - 35.1}, {"fx": 31.0}):
        assert cycles.off(theirs, ours(**wrong)) > 3 * right
    assert cycles.off(theirs[:, ::-1], ours()) > cycles.AGREED < cycles.off(theirs[::-1], ours())
    # The same seed gives the same picture, lit from the lens: what is nearest is brightest.
    first, again = (studio.render(4, 7) for _ in range(2))
    assert np.array_equal(first["linear"], again["linear"])
    light = first["linear"].mean(-1)
    assert np.corrcoef(np.log(light).ravel(), np.log(ours()).ravel())[0, 1] < -0.5
    # The developed picture is the same one, the same way up.
    shown = studio.shown(looks.stops(again["linear"], look, np.isfinite(theirs))).mean(-1)
    assert np.corrcoef(np.log(light).ravel(), shown.ravel())[0, 1] > 0.9
