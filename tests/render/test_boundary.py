"""A wall that refracts: against discrete ordinates, in closed form, by its oracle, and in what it refuses."""

import functools

import numpy as np
import pytest
from scipy.optimize import brentq

from endorender.engine import ti
from endorender.errors import UserError
from endorender.render import radiance
from endorender.render.device import backend
from endorender.render.device import rng as random
from endorender.render.images.gradient import refuse
from endorender.render.integrators.volpath_simple import radiance_simple
from endorender.render.medium.field import Medium
from endorender.render.medium.labels import held_blocks
from endorender.render.medium.prepared import prepare
from endorender.render.medium.table import pack_table
from endorender.render.medium.traits import Traits
from endorender.render.transport import refraction, tracking
from endorender.render.transport.view import pack_view, unpack
from endorender.render.transport.world import World
from endorender.scene import Constant, Directional, Disk, HenyeyGreenstein, Pinhole, Point, Scene, Tissue
from endorender.scene.halfspace import reflectance
from tests.render.proofs import REFS, compare, same_image
from tests.render.reference import DIELECTRIC
from tests.render.scenes import THRESHOLD, affine, from_distance, tube_scene

IOR, FRONT = 1.4, 10.3
ALBEDO = (0.7, 0.9, 0.98)


@functools.cache
def plane():
    """Tissue beyond z = FRONT mm."""
    return from_distance(lambda p: p[..., 2] - FRONT, (24, 24, 40), affine((1.0, 1.0, 1.0)))


@functools.cache
def ball(side):
    """A ball of tissue (side 1) or of air (-1), of 4 mm, whose wall comes nearest to the camera at z = FRONT."""
    centre = np.array([11.5, 11.5, FRONT + 4.0 * side])
    return from_distance(lambda p: side * (4.0 - np.linalg.norm(p - centre, axis=-1)), (24, 24, 24), affine((1.0,) * 3))


def half_space(lights, angle=0.0, mode="refracting", specular=1.0, albedo=ALBEDO, fov=0.5):
    """A camera that looks at the plane from its normal by `angle` degrees about y."""
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    pose = affine((1.0,) * 3, turn, np.array([11.5, 11.5, FRONT]) - 5 * turn[:, 2])
    tissue = Tissue(hu=(0.0,), sigma_t=(3.0,), albedo=(albedo,), ior=IOR, specular=specular, roughness=0.02)
    camera = Pinhole(width=4, height=4, fov=fov)
    return Scene(plane(), camera, pose, tuple(lights), tissue, THRESHOLD, "interface", boundary=mode)


def sun(angle=0.0):
    a = np.radians(angle)
    return Directional(direction=(float(np.sin(a)), 0.0, float(np.cos(a))), irradiance=1.0, attached="world")


def z_scores(image, expected):
    mean, error = image.mean.mean((0, 1)), np.sqrt(image.variance.sum((0, 1))) / image.mean[..., 0].size
    return (mean - expected) / error, error / np.asarray(expected)


def outside(cos):
    """Fresnel reflectance from air."""
    t = np.sqrt(1 - (1 - cos**2) / IOR**2)
    return 0.5 * (((IOR * cos - t) / (IOR * cos + t)) ** 2 + ((cos - IOR * t) / (cos + IOR * t)) ** 2)


def ordinates(albedo, cos_in, cos_out):
    """Radiance factor f of the half space (L = f cos_in E), isotropic, by discrete ordinates and Chandrasekhar's H."""
    critical = np.sqrt(1 - 1 / IOR**2)
    x, w = np.polynomial.legendre.leggauss(40)
    x, w = 0.5 * (x + 1), 0.5 * w
    inner = [np.sqrt(1 - (1 - c**2) / IOR**2) for c in (cos_in, cos_out)]
    mu = np.concatenate([critical * x, critical + (1 - critical) * x**2, inner])
    weight = np.concatenate([critical * w, (1 - critical) * 2 * x * w, [0, 0]])
    h = np.ones_like(mu)
    for _ in range(1000):
        inverse = np.sqrt(1 - albedo) + 0.5 * albedo * (weight * mu * h / (mu[:, None] + mu)).sum(1)
        h = 0.5 * h + 0.5 / inverse
    out = np.sqrt(np.maximum(1 - IOR**2 * (1 - mu**2), 0))
    back = np.where(out > 0, outside(out), 1.0)
    first = albedo / (4 * np.pi) * h * h[-2] / (mu + mu[-2])  # of a beam of irradiance 1 across it, inside
    again = 0.5 * albedo * h[:, None] * h / (mu[:, None] + mu) * mu * weight * back
    inside = np.linalg.solve(np.eye(len(mu)) - again, mu[-2] * first)[-1] / mu[-2]
    # Flux through the wall: cos_in E (1 - F) comes in along mu[-2]; radiance falls by n² on its way out.
    return (1 - outside(cos_in)) * (1 - outside(cos_out)) * inside / IOR**2


@pytest.mark.parametrize(("mode", "specular"), [("straight", 1.0), ("refracting", 1.0), ("refracting", 0.7)])
def test_diffuse_reflectance_of_a_half_space(mode, specular):
    """Under constant light the mean radiance along the normal is R_d and what the coat reflects (reciprocity)."""
    image = radiance([half_space([Constant()], mode=mode, specular=specular)], 2048, 1)[0]
    expected = reflectance(np.array(ALBEDO), mode, IOR, specular) + specular * ((IOR - 1) / (IOR + 1)) ** 2
    z, error = z_scores(image, expected)
    assert (np.abs(z) < 3.5).all()
    assert error.max() < 0.02


def test_furnace():
    """Albedo 1 under constant light: radiance 1 whatever is reflected and refracted on the way."""
    for specular in (0.4, 1.0):
        scene = half_space([Constant()], 40.0, specular=specular, albedo=(1.0,) * 3)
        assert radiance([scene], 256, 1)[0].mean.mean() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("lit", "seen"), [(60.0, 0.0), (0.0, 60.0), (60.0, 45.0)])
def test_light_connected_through_the_wall(lit, seen):
    """Directional light on the half space, against discrete ordinates; both directions swapped: reciprocity.

    None of these is the mirror's direction, where the coat glints.
    """
    image = radiance([half_space([sun(lit)], seen)], 2048, 2)[0]
    cos = [np.cos(np.radians(a)) for a in (lit, seen)]
    expected = np.array([ordinates(a, *cos) * cos[0] for a in ALBEDO])
    z, error = z_scores(image, expected)
    assert (np.abs(z) < 3.5).all()
    assert error.max() < 0.03
    np.testing.assert_allclose(ordinates(0.9, *cos), ordinates(0.9, *cos[::-1]), rtol=1e-4)


def test_a_far_point_is_a_sun():
    along = np.array(sun(60).direction)
    place = np.array([11.5, 11.5, FRONT]) - 1000 * along
    far = Point(position=tuple(place.tolist()), intensity=(1e6,) * 3, attached="world")
    one, other = (radiance([half_space([light])], 2048, 3)[0] for light in (far, sun(60)))
    np.testing.assert_allclose(one.mean.mean((0, 1)), other.mean.mean((0, 1)), rtol=3e-3)


def _seeker(scene, prepared):
    """A kernel: place of entry and spread for pairs of points."""
    traits = Traits.of(scene)
    args = (prepared.kind, "interface", str(prepared.low.dtype), type(scene.phase))
    wall = refraction.device(*args, 3, traits)
    tracking.device(*args[:3], traits)

    @ti.kernel
    def seek(
        field: ti.types.ndarray(),
        smooth: ti.types.ndarray(),
        table: ti.types.ndarray(),
        labels: ti.types.ndarray(),
        view: ti.types.ndarray(),
        ends: ti.types.ndarray(),
        out: ti.types.ndarray(),
    ):
        for i in range(ends.shape[0]):
            q = unpack(view)
            medium = ti.static(Medium(field, smooth, None, table, labels, q.inv, q.threshold, q.wall_hu))
            world = ti.static(World(medium, q))
            rng = random.start(ti.u64(1), i, 0)
            x = ti.math.vec3(ends[i, 0], ends[i, 1], ends[i, 2])
            y = ti.math.vec3(ends[i, 3], ends[i, 4], ends[i, 5])
            way = wall.seek(world, x, y, 0.0, rng)
            out[i, 0] = ti.cast(way.kind, ti.f32)
            for k in ti.static(range(3)):
                out[i, 1 + k] = way.p[k]
            out[i, 4] = wall.spread(world, way, y)

    return seek


def found(scene, ends):
    prepared = prepare(scene.medium)
    out = np.zeros((len(ends), 5), np.float32)
    _seeker(scene, prepared)(
        prepared.field,
        prepared.smooth.values,
        backend.resident(pack_table([scene])),
        held_blocks(scene),
        backend.resident(pack_view(scene, prepared)),
        np.ascontiguousarray(ends, np.float32),
        out,
    )
    return out


def test_place_of_entry_and_spread_behind_a_plane():
    """Snell's law at the place, and (a + n b) (a cos o / cos i + n b cos i / cos o) for the pencil's cross-section."""
    backend.ensure()
    rng = np.random.default_rng(0)
    depth, height, across = rng.uniform(0.05, 1, 200), rng.uniform(1, 8, 200), rng.uniform(0, 8, 200)
    ends = np.array([[8.0, 11.5, FRONT + d, 8.0 + r, 11.5, FRONT - z] for d, z, r in zip(depth, height, across)])
    out = found(half_space([Constant()]), ends)
    good = out[:, 0] == refraction.ENTRY
    assert good.mean() >= 0.98

    def off(s, d, z, r):
        return IOR * s / np.hypot(s, d) - (r - s) / np.hypot(r - s, z)

    s = np.array([brentq(off, 0, r, args=(d, z, r)) for d, z, r in zip(depth, height, across)])
    np.testing.assert_allclose((out[:, 1] - 8.0)[good], s[good], atol=0.01)
    a, b = np.hypot(s, depth), np.hypot(across - s, height)
    i, o = depth / a, height / b
    np.testing.assert_allclose(out[good, 4], ((a + IOR * b) * (a * o / i + IOR * b * i / o))[good], rtol=0.02)


def test_nothing_between_is_no_wall():
    """From tissue to tissue: the straight line, not an entry."""
    backend.ensure()
    out = found(half_space([Constant()]), [[8.0, 11.5, 14.0, 12.0, 11.5, 15.0]])
    assert out[0, 0] == refraction.OPEN


SHAPES = {"plane": plane, "convex": functools.partial(ball, 1), "concave": functools.partial(ball, -1)}
SLOW = pytest.mark.slow


@pytest.mark.parametrize("shape", ["concave", pytest.param("plane", marks=SLOW), pytest.param("convex", marks=SLOW)])
def test_same_light_by_chance_as_by_connection(shape, request):
    """`volpath` connects to a disk through the wall; its oracle waits until paths that leave the tissue meet it."""
    slow = request.node.get_closest_marker("slow") is not None
    light = Disk(position=(0.5, 0.0, 1.0), direction=(0.0, 0.0, 1.0), radius=3.0, intensity=50.0)
    scene = half_space([light], fov=30).with_(medium=SHAPES[shape](), max_scatterings=64)
    scene = scene.with_(tissue=Tissue(hu=(0.0,), sigma_t=(3.0,), albedo=((0.9, 0.7, 0.3),), ior=IOR))
    spp = 16384 if slow else 2048
    found = same_image(radiance([scene], spp, 1)[0], radiance_simple(scene, spp, 2))
    assert found.share_within() == 1
    assert found.rms < 1.15
    assert (np.abs(found.mean_z) < 3.5).all()


@pytest.mark.slow
def test_a_septum_lit_from_behind():
    """Half a millimetre of tissue between two lumens: light by connection, and by paths that cross both walls."""
    light = Disk(position=(11.5, 11.5, 9.0), direction=(0.0, 0.0, -1.0), radius=3.0, intensity=50.0, attached="world")
    pose = affine((1.0,) * 3, translation=(11.5, 11.5, 1.0))
    tissue = Tissue(hu=(0.0,), sigma_t=(3.0,), albedo=((0.9, 0.7, 0.3),), ior=IOR)
    camera = Pinhole(width=4, height=4, fov=30)
    septum = from_distance(lambda p: 0.25 - np.abs(p[..., 2] - 5.0), (24, 24, 40), affine((1.0, 1.0, 0.25)), 1600.0)
    scene = Scene(septum, camera, pose, (light,), tissue, THRESHOLD, "interface", boundary="refracting")
    scene = scene.with_(max_scatterings=64)
    found = same_image(radiance([scene], 16384, 1)[0], radiance_simple(scene, 16384, 2))
    assert found.share_within() == 1
    assert found.rms < 1.2
    assert (np.abs(found.mean_z) < 3.5).all()


@pytest.mark.slow
def test_a_bent_tube_by_connection_and_by_chance():
    """Endoscope's guides in a tube with folds, seen and lit at grazing angles, through a coat that glints little."""
    scene = tube_scene(roughness=0.4, hu=(0.0,), sigma_t=(3.0,), albedo=((0.9, 0.8, 0.7),))
    scene = scene.with_(boundary="refracting", max_scatterings=32)
    found = same_image(radiance([scene], 8192, 1)[0], radiance_simple(scene, 32768, 2))
    assert found.share_within() >= 0.99
    assert (np.abs(found.mean_z) < 3.5).all()


def test_same_picture_as_mitsuba():
    """Mitsuba's `volpath` through a smooth dielectric: no connection there, its paths meet the disk by chance."""
    d, stored = DIELECTRIC, np.load(REFS / "d_dielectric.npz")
    forward = np.subtract(d.target, d.origin) / np.linalg.norm(np.subtract(d.target, d.origin))
    right = np.cross(forward, (0, -1, 0)) / np.linalg.norm(np.cross(forward, (0, -1, 0)))
    pose = affine((1.0,) * 3, np.stack([right, np.cross(forward, right), forward], 1), d.origin)
    light = Disk(
        position=d.light, direction=(0.0, 0.0, 1.0), radius=d.radius, intensity=d.intensity[0], attached="world"
    )
    tissue = Tissue(
        hu=(0.0,), sigma_t=(d.sigma_t,), albedo=(d.albedo,), phase=HenyeyGreenstein(g=d.g), ior=d.ior, specular=1.0,
        roughness=0.02,
    )  # fmt: skip
    camera = Pinhole(width=d.size, height=d.size, fov=d.fov)
    scene = Scene(plane(), camera, pose, (light,), tissue, THRESHOLD, "interface", boundary="refracting")
    ours = radiance([scene], 1024, 1)[0]
    found = compare(ours.mean, ours.variance, stored["mean"], stored["variance"])
    assert found.share_within() >= 0.9975
    assert found.rms < 1.15
    assert (np.abs(found.mean_z) < 3).all()


def test_what_is_refused():
    scene = tube_scene()
    with pytest.raises(UserError, match="needs surface interface"):
        scene.with_(surface="volume", boundary="refracting")
    with pytest.raises(UserError, match="straight or refracting"):
        scene.with_(boundary="bent")
    with pytest.raises(UserError, match="take boundary straight") as error:
        refuse(scene.with_(boundary="refracting"), ("albedo",))
    assert error.value.code == "NOT_DIFFERENTIABLE"


def test_the_setting_is_kept():
    told = tube_scene().with_(boundary="refracting").to_dict()
    assert told["boundary"] == "refracting"
    assert Scene.from_dict(tube_scene().medium, told).boundary == "refracting"
    del told["boundary"]  # a record from before the setting
    assert Scene.from_dict(tube_scene().medium, told).boundary == "straight"
