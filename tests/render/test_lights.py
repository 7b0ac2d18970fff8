"""Lights: sampling against density, radiance and inverse square, for every registered light."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from endorender.engine import ti
from endorender.errors import UserError
from endorender.render import radiance, shareable, synthetic
from endorender.render.depth.exact import geometry
from endorender.render.device import backend, rng
from endorender.render.device.cache import kernels
from endorender.render.gradients.coverage import refuse
from endorender.render.transport import illumination
from endorender.render.transport.emitters import E, numbered, pack_emitters, profiles
from endorender.render.transport.environment import map_from_world, pack_environment
from endorender.render.transport.tracking import FAR
from endorender.scene import Constant, Directional, Disk, EnvironmentMap, Point, Ring, Spot, lights
from endorender.scene.colour import planckian
from endorender.scene.halfspace import reflectance
from endorender.scene.lamps.measured import Measured
from endorender.scene.light import Kind
from tests.render.scenes import tube_scene
from tests.render.test_coat import wall
from tests.scene.test_sampling import chi_square

N = 1_000_000
POSE = np.eye(4)
POSE[:3, :3] = Rotation.from_euler("xyz", (20, -50, 100), degrees=True).as_matrix()
POSE[:3, 3] = (3, -2, 5)
WORLD = SimpleNamespace(to_grid=lambda x: x, rotation=np.eye(3))


def built(wanted):
    """(id, light) of the registered cases for which `wanted`."""
    made = [(name, lights.build({"type": name, **case})) for name, case in lights.cases()]
    return [pytest.param(light, id=f"{name}{n}") for n, (name, light) in enumerate(made) if wanted(light)]


def extended(light):
    return hasattr(light, "emitters") and light.emitters(POSE).kind == Kind.AREA


AREAS = built(extended)
BEAMS = built(lambda light: hasattr(light, "emitters") and not extended(light))
SKIES = built(lambda light: hasattr(light, "environment"))


def scene(*chosen):
    return SimpleNamespace(lights=chosen, world_from_camera=POSE)


@kernels
def _kernels(own):
    device = illumination.device(3, numbered(), own)
    vec3 = ti.math.vec3

    @ti.kernel
    def sample(emitters: ti.types.ndarray(), x: vec3, key: ti.u64, out: ti.types.ndarray()):
        for i in range(out.shape[0]):
            state = rng.start(key, i, 0)
            light = device.sample_emitter(emitters, x, state)
            for c in ti.static(range(3)):
                out[i, c], out[i, 3 + c] = light.direction[c], light.radiance[c]
            out[i, 6], out[i, 7] = light.density, light.distance

    @ti.kernel
    def met(emitters: ti.types.ndarray(), x: vec3, density: float, w: ti.types.ndarray(), out: ti.types.ndarray()):
        for i in range(out.shape[0]):
            d = vec3(w[i, 0], w[i, 1], w[i, 2])
            seen = device.met_emitters(emitters, x, d, FAR, x, density)
            for c in ti.static(range(3)):
                out[i, c] = seen[c]

    @ti.kernel
    def sample_sky(env: ti.types.ndarray(), alias: ti.types.ndarray(), m: ti.math.mat3, out: ti.types.ndarray()):
        for i in range(out.shape[0]):
            state = rng.start(ti.u64(7), i, 0)
            light = device.sample_environment(env, alias, m, state)
            for c in ti.static(range(3)):
                out[i, c], out[i, 3 + c] = light.direction[c], light.radiance[c]
            out[i, 6] = light.density

    @ti.kernel
    def sky(env: ti.types.ndarray(), w: ti.types.ndarray(), out: ti.types.ndarray()):
        for i in range(out.shape[0]):
            seen = device.environment(env, vec3(w[i, 0], w[i, 1], w[i, 2]))
            for c in ti.static(range(3)):
                out[i, c] = seen.radiance[c]
            out[i, 3] = seen.density

    return SimpleNamespace(sample=sample, met=met, sample_sky=sample_sky, sky=sky)


def run(name, columns, count, *arguments, own=()):
    """Kernel `name`, which fills (count, columns), on float32 copies of the array arguments. own: `profiles`."""
    backend.ensure()
    out = np.zeros((count, columns), np.float32)
    given = [np.ascontiguousarray(a, np.float32) if isinstance(a, np.ndarray) else a for a in arguments]
    getattr(_kernels(own), name)(*given, out)
    return out.astype(float)


def samples(emitters, x, count=N, own=()):
    return run("sample", 8, count, emitters, ti.math.vec3(*x), 5, own=own)


def seen(emitters, x, directions, density=-1.0, own=()):
    return run("met", 3, len(directions), emitters, ti.math.vec3(*x), density, directions, own=own)


def density_of(emitters, x, directions, own):
    """Density of `sample_emitter` per steradian, as `met_emitters` weighs with it: a weight of 1 / (1 + density)."""
    bare, weighed = seen(emitters, x, directions, own=own)[:, 0], seen(emitters, x, directions, 1.0, own)[:, 0]
    return np.where(bare > 0, bare / np.maximum(weighed, 1e-30) - 1, 0)


@pytest.mark.parametrize("light", AREAS)
def test_area_lights_are_sampled_as_their_density_says(light):
    e = light.emitters(POSE)
    packed, own = pack_emitters([scene(light)], WORLD), profiles(scene(light))
    to = -e.axis[0]
    right = np.cross(to, np.eye(3)[np.abs(to).argmin()])
    right /= np.linalg.norm(right)
    up = np.cross(to, right)
    x = e.position.mean(0) - 9 * to + 2 * right  # in front of it, off its axis

    drawn = samples(packed, x, own=own)
    d, density = drawn[:, :3], drawn[:, 6]
    assert np.isfinite(drawn).all()
    assert density.min() > 0
    # Directions as points of a plane at distance 1, in bins over all that was drawn, each of 64 × 64 fine cells.
    plane = np.stack([d @ right, d @ up], -1) / (d @ to)[:, None]
    low, high = plane.min(0) - 0.01, plane.max(0) + 0.01
    fine = [np.linspace(low[a], high[a], 20 * 64 + 1) for a in (0, 1)]
    s, q = np.meshgrid(*((f[1:] + f[:-1]) / 2 for f in fine), indexing="ij")
    directions = (to + s[..., None] * right + q[..., None] * up).reshape(-1, 3)
    length = np.linalg.norm(directions, axis=-1)
    directions /= length[:, None]
    angle = np.prod((high - low) / (20 * 64)) / length**3
    mass = density_of(packed, x, directions, own) * angle
    assert abs(mass.sum() - 1) < 1e-3
    expected = mass.reshape(20, 64, 20, 64).sum((1, 3)).ravel() * N
    counts = np.histogram2d(plane[:, 0], plane[:, 1], [f[::64] for f in fine])[0].ravel()
    assert chi_square(counts, expected, len(AREAS))
    # What a path would meet in a drawn direction: that density, but for rounding at the rim.
    again = density_of(packed, x, d[:100_000], own)
    assert (np.abs(again / density[:100_000] - 1) < 1e-3).mean() > 0.999
    # Light by sampling is light by looking.
    total = (seen(packed, x, directions, own=own) * angle[:, None]).sum(0)
    np.testing.assert_allclose(drawn[:, 3:6].mean(0), total, rtol=2e-3)
    # From behind they are dark.
    assert samples(packed, e.position.mean(0) + 5 * to, 1000, own)[:, 3:6].max() == 0


@pytest.mark.parametrize("light", AREAS)
def test_area_lights_are_points_from_far_away(light):
    e = light.emitters(POSE)
    for distance in (2000.0, 4000.0):
        x = e.position.mean(0) + distance * e.axis[0]
        got = samples(pack_emitters([scene(light)], WORLD), x, 10_000, profiles(scene(light)))
        ahead = float(e.beam(np.array(1.0)))  # a profile may be anything on the axis
        np.testing.assert_allclose(got[:, 3:6].mean(0), ahead * e.intensity.sum(0) / distance**2, rtol=1e-3)
        np.testing.assert_allclose(got[:, 7], distance, rtol=1e-2)


@pytest.mark.parametrize("light", BEAMS)
def test_lights_without_extent(light):
    e = light.emitters(POSE)
    packed = pack_emitters([scene(light)], WORLD)
    for x in np.random.default_rng(0).normal(0, 30, (40, 3)):
        drawn = samples(packed, x, 2, profiles(scene(light)))
        away = e.position[0] - x
        to, d2 = away / np.linalg.norm(away), away @ away
        if e.kind == Kind.DIRECTIONAL:
            to, d2 = -e.axis[0], 1.0
            assert (drawn[:, 7] == np.float32(FAR)).all()
        np.testing.assert_allclose(drawn[:, :3], [to, to], atol=1e-5)
        np.testing.assert_allclose(
            drawn[:, 3:6], np.tile(e.intensity[0] * e.beam(-to @ e.axis[0]) / d2, (2, 1)), rtol=1e-3, atol=1e-9
        )
        assert (drawn[:, 6] == -1).all()  # no path can meet it


def test_a_spot_fades_between_its_angles():
    e = Spot(inner=20, outer=40).emitters(np.eye(4))
    cos = np.cos(np.radians([0, 19.9, 40.1, 120]))
    np.testing.assert_allclose(e.beam(cos), [1, 1, 0, 0])
    middle = (np.cos(np.radians(20)) + np.cos(np.radians(40))) / 2
    assert e.beam(np.array(middle)) == pytest.approx(0.5)
    # In the renderer as on the host, through the fade and beyond.
    x = [(10 * np.tan(a), 0, 10) for a in np.radians([0, 25, 30, 35, 50])]
    packed = pack_emitters([SimpleNamespace(lights=(Spot(inner=20, outer=40),), world_from_camera=np.eye(4))], WORLD)
    got = [samples(packed, p, 1)[0, 3] * np.dot(p, p) for p in x]
    np.testing.assert_allclose(got, 1000 * e.beam(np.cos(np.radians([0, 25, 30, 35, 50]))), rtol=1e-3)
    assert got[0] == pytest.approx(1000)
    assert got[4] == 0


def test_a_measured_lamp_shines_as_it_was_measured():
    """At the measured angles, half-way between two, and beyond the last; on the host and through the renderer."""
    lamp = Measured(degrees=(0, 20, 50), values=(2.0, 1.0, 0.5), intensity=10.0)
    at = np.radians([0, 20, 35, 47, 50, 51, 80])
    wanted = [2.0, 1.0, 0.75, 0.55, 0.5, 0.0, 0.0]
    np.testing.assert_allclose(lamp.emitters(np.eye(4)).beam(np.cos(at)), wanted, atol=1e-6)
    # Seen from a matte wall that faces the lamp: E / π × reflectance, E = I(θ) cos³θ / z².
    z, dark = 40.0, {"sigma_t": (0, 9, 9, 9), "albedo": ((1.0,) * 3,) * 4}
    for angle, value in zip(at[:4], wanted):
        place = (192 - z * np.tan(angle), 192.0, 6 - z)
        light = lamp.model_copy(update={"position": place, "attached": "world"})
        found = radiance([wall(0, (light,), **dark).with_(coat="lambertian")], 1, 1)[0].mean.mean()
        irradiance = 10 * value * np.cos(angle) ** 3 / z**2
        assert found == pytest.approx(irradiance * reflectance(1.0) / np.pi, rel=3e-3)


def test_what_a_measured_lamp_cannot_be():
    for given, said in (
        ({"degrees": (0, 30)}, "one of the values for each"),
        ({"degrees": (0, 30, 20, 90)}, "degrees have to rise"),
        ({"values": (0, 0, 0, 0)}, "values cannot be negative, nor all 0"),
    ):
        with pytest.raises(UserError, match=said) as error:
            lights.build({"type": "measured", **given})
        assert error.value.code == "INVALID_VALUE"
    with pytest.raises(UserError, match="gradients do not cover a light with a profile of its own") as error:
        refuse(tube_scene(lights=(Measured(),)), ("lights",))
    assert error.value.code == "NOT_DIFFERENTIABLE"


def cells_of(nodes, d):
    """Row and column (with fractions) of directions in the map's frame, in double precision."""
    h, w = nodes.shape[0] - 1, nodes.shape[1] - 1
    row = np.arctan2(np.hypot(d[:, 0], d[:, 1]), d[:, 2]) / np.pi * h
    col = ((np.pi - np.arctan2(d[:, 1], d[:, 0])) / (2 * np.pi) * w - 0.5) % w
    return row, col


@pytest.mark.parametrize("light", SKIES)
def test_environments_are_sampled_as_their_density_says(light):
    turned = map_from_world(scene(light))
    np.testing.assert_allclose(turned @ turned.T, np.eye(3), atol=1e-12)
    nodes, alias = pack_environment([scene(light)])
    h, w = nodes.shape[0] - 1, nodes.shape[1] - 1
    # n × n directions of equal solid angle to a cell: the density is constant there, so their sum is exact.
    n = max(4, 128 // w)
    cos = np.cos(np.pi * np.arange(h + 1) / h)
    share = (np.arange(n) + 0.5) / n
    z = (cos[:-1, None] + (cos[1:] - cos[:-1])[:, None] * share).ravel()
    phi = np.pi - 2 * np.pi * ((np.arange(w)[:, None] + 0.5 + share).ravel()) / w
    zz, pp = np.meshgrid(z, phi, indexing="ij")
    s = np.sqrt(1 - zz**2)
    directions = np.stack([s * np.cos(pp), s * np.sin(pp), zz], -1).reshape(-1, 3)
    angle = np.repeat(cos[:-1] - cos[1:], n)[:, None] / n * (2 * np.pi / w / n) * np.ones(n * w)
    looked = run("sky", 4, len(directions), nodes, directions)
    mass = looked[:, 3] * angle.ravel()
    assert abs(mass.sum() - 1) < 1e-3

    drawn = run("sample_sky", 7, N, nodes, alias, ti.Matrix(turned.astype(np.float32)))
    assert np.isfinite(drawn).all()
    d = drawn[:, :3] @ turned.T  # drawn in the world, looked up in the map
    row, col = cells_of(nodes, d)
    row = np.minimum(row, h - 1e-9)
    # Halves of cells, so that directions are shown to be even within them; evenly in the cosine.
    k = row.astype(int)
    upper = (cos[k] - d[:, 2]) / (cos[k] - cos[k + 1]) > 0.5
    counts = np.zeros((2 * h, 2 * w))
    np.add.at(counts, (2 * k + upper, (2 * col).astype(int) % (2 * w)), 1)
    expected = mass.reshape(2 * h, n // 2, 2 * w, n // 2).sum((1, 3)) * N
    assert chi_square(counts.ravel(), expected.ravel(), len(SKIES))
    # Light by sampling is light by looking.
    total = (looked[:, :3] * angle.reshape(-1, 1)).sum(0)
    np.testing.assert_allclose(drawn[:, 3:6].mean(0), total, rtol=1e-2)


@pytest.mark.parametrize("light", SKIES)
def test_environments_are_bilinear_between_their_nodes(light):
    m = light.environment().astype(float)
    nodes, _ = pack_environment([scene(light)])
    d = np.random.default_rng(1).normal(size=(5000, 3))
    d = np.concatenate([d / np.linalg.norm(d, axis=1, keepdims=True), np.eye(3), -np.eye(3)])
    row, col = cells_of(nodes, d)
    if m.shape[0] == 1:
        m = np.repeat(m, 2, 0)
    r0, c0 = np.minimum(row.astype(int), m.shape[0] - 2), col.astype(int) % m.shape[1]
    f, g = (row - r0)[:, None], (col - col.astype(int))[:, None]
    c1 = (c0 + 1) % m.shape[1]
    expected = (m[r0, c0] * (1 - g) + m[r0, c1] * g) * (1 - f) + (m[r0 + 1, c0] * (1 - g) + m[r0 + 1, c1] * g) * f
    np.testing.assert_allclose(run("sky", 4, len(d), nodes, d)[:, :3], expected, rtol=2e-3, atol=1e-3 * m.max())


def test_the_middle_of_a_map_looks_along_x_and_its_right_towards_minus_y():
    pixels = np.zeros((3, 8, 3))
    pixels[1] = np.arange(8)[:, None]
    light = EnvironmentMap(pixels=pixels.tolist())
    turned = EnvironmentMap(pixels=pixels.tolist(), rotation=90)
    held = EnvironmentMap(pixels=pixels.tolist(), attached="camera")
    nodes, _ = pack_environment([scene(light)])
    ways = np.array([[1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, 1.0]])
    np.testing.assert_allclose(run("sky", 4, 4, nodes, ways)[:, 0], [3.5, 5.5, 1.5, 0], atol=1e-5)
    # A quarter turn about +z: what was seen along +x is seen along +y.
    np.testing.assert_allclose(turned.map_from_world(POSE) @ [0, 1, 0], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(held.map_from_world(POSE) @ POSE[:3, 2], [0, 0, 1], atol=1e-12)


def test_two_maps_are_refused_and_constant_light_adds_to_one():
    one = EnvironmentMap(pixels=[[[1.0, 2, 3]], [[2.0, 2, 3]]])
    nodes, _ = pack_environment([scene(one, Constant(radiance=0.5))])
    np.testing.assert_allclose(nodes[:, :, :3], [[[1.5, 2.5, 3.5]] * 2, [[2.5, 2.5, 3.5]] * 2])
    with pytest.raises(ValueError, match="one environment map"):
        pack_environment([scene(one, one)])


def test_conditions_share_paths_if_their_lights_differ_in_colour_alone():
    def alike(one, other):
        return shareable(tube_scene(lights=(one,)), tube_scene(lights=(other,)))

    assert alike(Spot(), Spot(temperature=3000, intensity=2.0))
    assert alike(EnvironmentMap(map="studio"), EnvironmentMap(map="studio", scale=2.0, colour=(1, 0, 0)))
    assert alike(Directional(), Directional(irradiance=3.0))
    assert not alike(Spot(), Spot(inner=5))
    assert not alike(Directional(), Directional(attached="camera"))
    assert not alike(EnvironmentMap(map="studio"), EnvironmentMap(map="interior"))
    # Traced together, each gets its own light.
    nodes, _ = pack_environment([scene(Constant(radiance=2.0)), scene(Constant(temperature=3000))])
    np.testing.assert_allclose(nodes[0, 0, :6], [2, 2, 2, *planckian(3000)], rtol=1e-6)
    row = pack_emitters([scene(Disk(colour=(1, 2, 3))), scene(Disk(intensity=7.0))], WORLD)[0]
    np.testing.assert_allclose(row[E.COLOUR :], [1000, 2000, 3000, 7, 7, 7])


def test_a_disk_in_sight_has_its_radiance():
    """intensity / area, the same wherever it is seen from, at every pixel that it fills."""
    disk = Disk(position=(0, 0, 5), direction=(0.5, 0, -1), radius=2, intensity=8 * np.pi, colour=(1, 0.5, 0.25))
    black = {"sigma_t": [0, 50, 50, 50], "albedo": [[0.0] * 3] * 4, "specular": 0.0}
    image = radiance([tube_scene(lights=(disk,), **black)], 16, 1)[0]
    middle = image.mean[3:5, 5:7]
    np.testing.assert_allclose(middle, np.broadcast_to((2, 1, 0.5), middle.shape), rtol=1e-4)
    assert image.mean[0, 0].max() == 0


def test_plain_pictures_know_every_light():
    view = tube_scene()
    shape = geometry(view)
    lit = {light: synthetic(view.with_(lights=(light,)), shape) for light in (Point(), Spot(), Ring(), Disk())}
    rays = view.camera.unproject(view.camera.pixels())
    for light, image in lit.items():
        assert image.max() > 0
        # All stand at the lens, of one intensity along the axis.
        np.testing.assert_allclose(
            image[..., 0], lit[Point()][..., 0] * light.emitters(np.eye(4)).beam(rays[..., 2]), rtol=1e-5
        )
    sun = synthetic(view.with_(lights=(Directional(attached="camera", direction=(0, 0, 1), irradiance=2.0),)), shape)
    facing = np.maximum(-np.nan_to_num(shape.normal)[..., 2], 0)
    np.testing.assert_allclose(sun[..., 0], np.where(shape.mask, 2 * 0.7 / np.pi * facing, 0), rtol=1e-5, atol=1e-7)
