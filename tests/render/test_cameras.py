"""Cameras in the renderer: vignetting, the black border, depth of field, and geometry that fits each of them."""

import numpy as np
import pytest

from endorender.engine import ti
from endorender.errors import UserError
from endorender.render import geometry, radiance, synthetic
from endorender.render.device import backend
from endorender.render.device.rng import rand2
from endorender.render.integrators.volpath_simple import radiance_simple
from endorender.render.transport import camera_rays
from endorender.render.transport.view import View
from endorender.scene import Constant, Pinhole, ThinLens, cameras
from endorender.scene.camera import FILM, PARAMETERS
from tests.render.scenes import affine, cube_scene, tube_scene

CAMERAS = [(name, case) for name, case in cameras.cases() if max(case.get("width", 320), case.get("height", 240)) < 300]


@pytest.mark.parametrize("name", list(cameras))
@pytest.mark.parametrize("mask", ["none", "circle", "octagon", "corners"])
def test_empty_space_under_constant_light_shows_vignetting_and_mask(name, mask):
    """Nothing scatters, so the picture is cosⁿ θ of each camera's own rays, and black outside the mask."""
    camera = cameras.build(
        {"type": name, "width": 40, "height": 30, "vignetting": 3, "mask": mask, "mask_diameter": 0.9}
    )
    scene = cube_scene(0.0, 0.5, [Constant(radiance=(1, 2, 4))]).with_(camera=camera)
    pixels = camera.pixels()
    within = np.array([-1, 0, 1]) / 3
    parts = [camera.falloff(camera.unproject(pixels + (du, dv))) for du in within for dv in within]
    expected = np.where(camera.visible(), np.mean(parts, 0), 0)
    for image in (radiance([scene], 64, 1)[0], radiance_simple(scene, 64, 2)):
        got = image.mean / [1, 2, 4]
        assert (np.abs(got - expected[..., None]) < 5 * np.sqrt(image.variance) / [1, 2, 4] + 1e-3).all()
        assert got.mean() == pytest.approx(expected.mean(), rel=2e-3)
        assert (image.mean[~camera.visible()] == 0).all()
        assert (image.variance[~camera.visible()] == 0).all()


def test_masks_have_their_shape():
    shape = {"width": 400, "height": 300, "mask_diameter": 0.8}
    circle = Pinhole(mask="circle", **shape).visible()
    assert circle.sum() == pytest.approx(np.pi * 120**2, rel=2e-3)
    octagon = Pinhole(mask="octagon", **shape).visible()
    assert octagon.sum() == pytest.approx(8 * np.tan(np.pi / 8) * 120**2, rel=2e-3)
    assert octagon[150, 80:320].all()
    assert not octagon[150, :80].any()
    wide = Pinhole(mask="circle", mask_of="width", **shape).visible()
    assert wide[0, 200]
    assert not wide[150, 0]
    # On a stretched picture the mask is stretched like everything else.
    squeezed = Pinhole(fx=200, mask="circle", **shape).resized(200, 300)
    assert squeezed.visible().sum() == pytest.approx(circle.sum() / 2, rel=5e-3)
    assert np.array_equal(squeezed.visible().any(1), circle.any(1))
    assert Pinhole(**shape).visible().all()


def test_a_scope_that_cuts_the_corners_alone_hides_little():
    scope = {"type": "scaramuzza", "width": 270, "height": 216}
    hidden = {mask: 1 - cameras.build({**scope, "mask": mask}).visible().mean() for mask in ("octagon", "corners")}
    assert hidden["octagon"] == pytest.approx(0.34, abs=0.01), "a regular octagon is no CF-HQ190L"
    assert hidden["corners"] == pytest.approx(0.07, abs=0.002)
    cut = Pinhole(width=400, height=300, mask="corners", mask_corner=0.4).visible()
    assert 1 - cut.mean() == pytest.approx(2 * 120**2 / (400 * 300), rel=0.02)
    assert cut[150].all()
    assert cut[:, 200].all()
    assert not cut[0, :119].any()
    assert cut[0, 121:279].all()
    assert not cut[:119, 0].any()
    # On a stretched picture the cut is stretched like everything else.
    squeezed = Pinhole(fx=200, width=400, height=300, mask="corners", mask_corner=0.4).resized(200, 300).visible()
    assert squeezed.sum() == pytest.approx(cut.sum() / 2, rel=5e-3)
    assert squeezed[0, 61:139].all()
    assert not squeezed[0, :59].any()


def test_geometry_is_invalid_outside_the_mask_and_the_plain_picture_black():
    plain = tube_scene(size=(24, 16))
    masked = plain.with_(camera=plain.camera.model_copy(update={"mask": "octagon", "vignetting": 2.0}))
    seen, whole = geometry(masked), geometry(plain)
    visible = masked.camera.visible()
    assert 0.2 < visible.mean() < 0.9
    assert np.array_equal(seen.mask, whole.mask & visible)
    for layer, full in ((seen.z_depth, whole.z_depth), (seen.distance, whole.distance), (seen.normal, whole.normal)):
        assert np.isnan(layer[~visible]).all()
        np.testing.assert_array_equal(layer[visible], full[visible])
    assert (seen.albedo[~visible] == 0).all()
    ratio = synthetic(masked, seen)[seen.mask] / synthetic(plain, whole)[seen.mask]
    falloff = masked.camera.falloff(masked.camera.unproject(masked.camera.pixels()))[seen.mask]
    np.testing.assert_allclose(ratio[:, 0], falloff, rtol=1e-5)
    assert (synthetic(masked, seen)[~visible] == 0).all()


@pytest.mark.parametrize(("name", "case"), CAMERAS)
def test_geometry_lands_on_the_same_points_through_every_camera(name, case):
    """What one camera sees at a pixel, a narrow pinhole aimed there sees too: distances agree."""
    camera = cameras.build({"type": name, **case})
    scene = tube_scene().with_(camera=camera)
    seen = geometry(scene)
    rng = np.random.default_rng(0)
    rows, columns = np.nonzero(seen.mask)
    for k in rng.choice(len(rows), 6, replace=False):
        d = camera.unproject(np.array([columns[k], rows[k]], float))
        side = np.cross(d, (0.3, 0.5, 0.1))
        side /= np.linalg.norm(side)
        pose = scene.world_from_camera.copy()
        pose[:3, :3] = pose[:3, :3] @ np.stack([side, np.cross(d, side), d], 1)
        aimed = geometry(scene.with_(camera=Pinhole(width=1, height=1, fov=1), world_from_camera=pose))
        assert seen.distance[rows[k], columns[k]] == pytest.approx(float(aimed.distance[0, 0]), abs=2e-4)
        assert seen.z_depth[rows[k], columns[k]] == pytest.approx(float(aimed.distance[0, 0] * d[2]), abs=2e-4)


def test_rays_of_a_lens_meet_on_the_sharp_plane_and_fill_the_lens():
    camera = ThinLens(width=32, height=24, fov=80, focus=7.0, aperture=3.0)
    backend.ensure()
    eye = camera_rays.device(ThinLens)
    n = 20_000
    origin, direction = np.empty((n, 3), np.float32), np.empty((n, 3), np.float32)

    @ti.kernel
    def run(film: ti.types.ndarray(), optics: ti.types.ndarray(), o: ti.types.ndarray(), w: ti.types.ndarray()):
        for i in range(o.shape[0]):
            q = View()
            q.width = 32
            q.lens = ti.math.vec3(0.0)
            q.turn = ti.Matrix.identity(ti.f32, 3)
            q.film = ti.Vector([film[k] for k in range(FILM)])
            q.optics = ti.Vector([optics[k] for k in range(PARAMETERS)])
            rng = ti.cast(i, ti.u64) * ti.u64(0x9E3779B97F4A7C15)
            a, b, _ = eye.ray(5 * 32 + 9, rand2(rng), q, rng)
            for c in ti.static(range(3)):
                o[i, c] = a[c]
                w[i, c] = b[c]

    run(camera.film(), camera.parameters(), origin, direction)
    assert (origin[:, 2] == 0).all()
    r2 = (origin[:, :2] ** 2).sum(1) / 1.5**2
    assert r2.max() <= 1 + 1e-6
    # Uniform over the disk: r² is uniform, so is the angle.
    for values in (r2, np.arctan2(origin[:, 1], origin[:, 0]) / (2 * np.pi) + 0.5):
        counts = np.histogram(values, 20, (0, 1 + 1e-6))[0]
        assert ((counts - n / 20) ** 2 / (n / 20)).sum() < 40.3  # chi-square, 19 degrees of freedom, 0.3 %
    at_focus = origin + direction * ((7.0 - origin[:, 2:]) / direction[:, 2:])
    uv = camera.project(at_focus.astype(float))
    assert np.abs(uv - (9, 5)).max() < 0.5 + 1e-3
    beyond = origin + direction * (21.0 / direction[:, 2:])
    # At three times the distance the lens's disk appears (21 - 7) / 7 times as wide as it is.
    centre = camera.unproject(np.array([9.0, 5.0])) * 21 / camera.unproject(np.array([9.0, 5.0]))[2]
    assert np.abs(beyond[:, :2].mean(0) - centre[:2]).max() < 0.05
    spread = np.linalg.norm(beyond - centre, axis=1)
    assert 2.9 < spread.max() < 3.0 + 0.7 * 21 / camera.K[0, 0]


@pytest.mark.parametrize("focus", [60.0, 20.0])
def test_an_edge_is_as_blurred_as_the_circle_of_confusion(focus):
    """A black cube before white light: the picture of its edge is the disk's integral, A f |1/F - 1/D| pixels wide."""
    camera = ThinLens(width=64, height=2, fov=14, focus=focus, aperture=2.0)
    # The cube's face is at z = 0, its edge at x = 20, far enough aside for its flank to stay hidden.
    pose = affine((1, 1, 1), translation=(16.0, 10.0, -60.0))
    scene = cube_scene(200.0, 0.0, [Constant()], edge=20.0, pose=pose).with_(camera=camera)
    light = radiance([scene], 4096, 3)[0].mean[..., 0].mean(0)
    f = camera.K[0, 0]
    diameter = 2.0 * f * abs(1 / focus - 1 / 60)  # 0 and 17 pixels
    # The variance of a disk's profile is a sixteenth of its diameter's square; pixel and differences add 1 / 12 each.
    weight = np.diff(light)
    place = np.arange(63) - (weight * np.arange(63)).sum()
    width = np.sqrt((weight * place**2).sum())
    assert light[0] < 1e-3
    assert light[-1] > 0.999
    assert width == pytest.approx(np.sqrt(diameter**2 / 16 + 1 / 6), abs=0.1)


def test_a_tiny_aperture_is_a_pinhole():
    small = ThinLens(width=12, height=8, fov=90, aperture=1e-4)
    scene = tube_scene("volume", sigma_t=[0, 1.5, 1.5, 1.5], albedo=[[0.6, 0.5, 0.4]] * 4)
    a, b = radiance([scene], 256, 1)[0], radiance([scene.with_(camera=small)], 256, 2)[0]
    z = (a.mean - b.mean) / np.sqrt(a.variance + b.variance)
    assert np.sqrt((z**2).mean()) < 1.15


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"type": "pinhole", "fov": 80, "fx": 100}, "either fov or fx"),
        ({"type": "pinhole", "cx": 100}, "go with fx"),
        ({"type": "pinhole", "mask": "square"}, "mask: .*'none', 'circle', 'octagon' or 'corners'"),
        ({"type": "pinhole", "fx": 100, "calibrated": [0, 3]}, "width and a height"),
        ({"type": "thin_lens", "aperture": 0}, "aperture: .*greater than 0"),
        ({"type": "brown_conrady", "k1": -1}, "folds the image over"),
        ({"type": "brown_conrady", "fx": 200, "k1": -0.6}, "folds the image over"),
        ({"type": "brown_conrady", "fx": 200, "p1": 0.5}, "folds the image over"),
        ({"type": "brown_conrady", "fx": 200, "k4": -2.0}, "folds the image over"),
        ({"type": "scaramuzza", "a2": -0.01}, "go together; a0, a3, a4, cx, cy missing"),
        (
            {"type": "scaramuzza", "a0": 60, "a2": 0.03, "a3": 0, "a4": 0, "cx": 159, "cy": 119, "width": 320},
            "folds the image over",
        ),
        ({"type": "scaramuzza", "c": -1}, "mirror or flatten"),
        ({"type": "fisheye", "fx": 50, "k1": -0.3}, "folds the image over"),
    ],
)
def test_cameras_that_cannot_be_are_refused_in_one_line(spec, words):
    with pytest.raises(UserError, match=words) as error:
        cameras.build(spec)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "case"), cameras.cases())
def test_resizing_keeps_the_optics(name, case):
    camera = cameras.build({"type": name, **case})
    twice = camera.resized(camera.width * 2, camera.height * 2)
    assert (twice.width, twice.height) == (2 * camera.width, 2 * camera.height)
    inner = camera.pixels()[::7, ::7]
    np.testing.assert_allclose(twice.unproject(inner * 2 + 0.5), camera.unproject(inner), atol=1e-9)
    back = twice.resized(camera.width, camera.height)
    np.testing.assert_allclose(back.unproject(inner), camera.unproject(inner), atol=1e-12)
    assert cameras.build(cameras.dump(twice)) == twice


def random_cameras(count):
    """Cameras with parameters drawn at random, so wildly that many must be refused."""
    rng = np.random.default_rng(5)
    for _ in range(count):
        size = {"width": 24, "height": 18}
        fx = {"fx": float(rng.uniform(8, 40)), "cx": float(rng.uniform(8, 15))}
        k = {f"k{n}": float(rng.normal() * 0.3 / n) for n in range(1, 7)}
        tangential = {f"p{n}": float(rng.normal() * 0.02) for n in (1, 2)}
        yield {"type": "brown_conrady", **size, **fx, **k, **tangential}
        yield {"type": "fisheye", **size, **fx, **{f"k{n}": k[f"k{n}"] for n in range(1, 5)}}
        a = {
            "a0": float(rng.uniform(5, 30)),
            "a2": float(rng.normal() * 0.05),
            "a3": float(rng.normal() * 1e-3),
            "a4": 0,
        }
        yield {"type": "scaramuzza", **size, **a, "cx": fx["cx"], "cy": 9, "c": 1.1, "d": float(rng.normal() * 0.1)}


def test_random_cameras_are_one_to_one_or_refused():
    backend.ensure()
    refused, built = [], 0
    for spec in random_cameras(150):
        try:
            camera = cameras.build(spec)
        except UserError as error:
            refused.append(str(error))
            continue
        built += 1
        pixels = camera.pixels()
        d = camera.unproject(pixels)
        if spec["type"] == "fisheye" and np.linalg.norm((pixels - camera.K[:2, 2]) / camera.K[0, 0], axis=-1).max() > (
            camera._radius(np.array(np.pi))
        ):
            continue  # pixels beyond the antipode look back round; they are the user's own wish
        assert np.abs(camera.project(d * 3) - pixels).max() < 1e-3, spec
    assert all("folds the image over" in words for words in refused)
    assert len(refused) > 50
    assert built > 50


def test_points_that_no_pixel_sees_do_not_land_in_the_picture():
    """Distortion polynomials turn back far off the axis; such points, and those behind, project to NaN."""
    camera = cameras.build({"type": "brown_conrady", "fx": 70, "k1": -0.25, "width": 64, "height": 48})
    far = camera.project(np.array([[0.2, 0.1, 1.0], [1.8, 0.1, 1.0], [0.2, 0.1, -1.0], [1.0, 0.0, 1e-6]]))
    assert np.isfinite(far[0]).all()
    assert np.isnan(far[1:]).all()
    wide = cameras.build({"type": "scaramuzza", "width": 270, "height": 216})
    beyond = wide.project(np.array([[0.0, 0.0, 1.0], [1.0, 0.0, -1.0]]))
    np.testing.assert_allclose(beyond[0], wide.K[:2, 2])
    assert np.isnan(beyond[1]).all()


def test_published_intrinsics_and_both_readings_of_the_stretch_matrix():
    """One hundred pixels from the centre along x and y, by hand from the published numbers."""
    z = 769.243600037458 - 8.12770624150226e-4 * 1e4 + 6.25674244578925e-7 * 1e6 - 1.1966218214428e-9 * 1e8
    points = np.array([[100.0, 0, z], [0, 100, z]])
    ours = cameras.build("scaramuzza")
    np.testing.assert_allclose(
        ours.project(points * 3),
        [[778.543527488291, 542.679570934914], [678.833113092817, 642.975887548343]],
        atol=1e-6,
    )
    other = cameras.build({"type": "scaramuzza", "transposed": True}).project(points)
    np.testing.assert_allclose(other[0], [778.543527488291, 543.264161377868], atol=1e-6)
    np.testing.assert_allclose(ours.K[:2, 2], [678.544839263292, 542.975887548343])
