"""What walls are made of: every registered surface by its figures, a rough border and a matte cover by their light."""

import numpy as np
import pytest

from endorender.dataset import configure
from endorender.engine import ti
from endorender.errors import UserError
from endorender.render import geometry, radiance
from endorender.render.device import backend
from endorender.render.device.cache import kernels
from endorender.render.images.gradient import gradient
from endorender.render.integrators.volpath_simple import radiance_simple
from endorender.scene import Constant, Directional, Disk, EnvironmentMap, Scene, coats
from endorender.scene.halfspace import reflectance
from tests.render.proofs import oracle, same_image
from tests.render.scenes import tube_scene
from tests.render.test_boundary import ALBEDO, half_space, z_scores
from tests.render.test_coat import seen, towards, wall
from tests.scene.test_sampling import CORNERS, chi_square, direction, uniforms

N = 1_000_000
IOR = 1.4
BUMPY = {"type": "lambertian", "bumps": 0.4, "pitch": 2.0}
COVERED, BORDER = {"coat": "lambertian"}, {"coat": "rough_dielectric", "boundary": "refracting"}
# Of every surface: from which sides it is met, as the index beyond over that before.
SIDES = [
    pytest.param(name, case, eta, id=f"{name}-{eta:.2f}")
    for name, case in coats.cases()
    for eta in ((IOR, 1 / IOR) if coats[name].role == "border" else (IOR,))
]


@kernels
def _kernel(cls):
    coat = cls.device()
    vec3 = ti.math.vec3

    @ti.kernel
    def run(what: int, w: vec3, here: vec3, table: ti.types.ndarray(), x: ti.types.ndarray(), out: ti.types.ndarray()):
        for i in range(out.shape[0]):
            n, given = vec3(0.0, 0.0, 1.0), vec3(x[i, 0], x[i, 1], x[i, 2])
            if what == 0:
                d = coat.sample(table, w, n, here, given)
                for c in ti.static(range(3)):
                    out[i, c] = d[c]
            elif what == 1:
                out[i, 0] = coat.pdf(table, w, given, n, here)
            elif what == 2:
                f = coat.eval(table, w, given, n, here)
                out[i, 0], out[i, 1] = f[0], f[1]
            else:
                out[i, 0] = coat.albedo(table, w.z, here)

    return run


def call(what, name, case, wi, x, alpha, eta):
    """(N, 3): of `sample` directions, of `pdf` and `eval` their numbers, about +z; float64. x: (N, 3)."""
    backend.ensure()
    coat = coats.build({"type": name, **case})
    vec3, out = ti.math.vec3, np.zeros((len(x), 3), np.float32)
    which = ["sample", "pdf", "eval", "albedo"].index(what)
    given = np.ascontiguousarray(x, np.float32)
    _kernel(type(coat))(which, vec3(*wi.tolist()), vec3(alpha, 1.0, eta), coat.data(), given, out)
    return out.astype(float)


def cells(rows, cols):
    """(rows, cols, 3) directions, (rows, 1) solid angles of cells even in θ and azimuth: lobes lie about the poles."""
    edge = np.linspace(0, np.pi, rows + 1)
    theta, phi = (edge[1:] + edge[:-1]) / 2, (np.arange(cols) + 0.5) / cols * 2 * np.pi - np.pi
    t, p = np.meshgrid(theta, phi, indexing="ij")
    grid = np.stack([np.sin(t) * np.cos(p), np.sin(t) * np.sin(p), np.cos(t)], -1)
    return grid, -np.diff(np.cos(edge))[:, None] * 2 * np.pi / cols


@pytest.mark.parametrize(("name", "case", "eta"), SIDES)
def test_a_surface_is_drawn_as_its_density_says_and_keeps_energy(name, case, eta):
    """Chi-square over the whole sphere, and ∫ eval dω = albedo: by quadrature over it, and by the samples' weights."""
    fine, angle = cells(40 * 24, 20 * 24)
    bins = (np.linspace(0, np.pi, 41), np.linspace(-np.pi, np.pi, 21))
    for alpha, theta in ((0.3, 0.2), (0.6, 0.9), (0.3, 1.4)):
        wi = direction(theta)
        u = np.stack([uniforms(N, seed) for seed in (2, 3, 4)], -1)
        drawn = call("sample", name, case, wi, u, alpha, eta)
        np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1, atol=1e-5)
        corners = np.stack(np.meshgrid(*[CORNERS] * 3), -1).reshape(-1, 3)
        assert np.isfinite(call("sample", name, case, wi, corners, alpha, eta)).all()

        density = call("pdf", name, case, wi, fine.reshape(-1, 3), alpha, eta)[:, 0].reshape(angle.shape[0], -1)
        mass = (density * angle).reshape(40, 24, 20, 24).sum((1, 3))
        at = call("pdf", name, case, wi, drawn, alpha, eta)[:, 0]
        assert mass.sum() == pytest.approx(1, abs=1e-3)
        counts = np.histogram2d(np.arccos(drawn[:, 2]), np.arctan2(drawn[:, 1], drawn[:, 0]), bins)[0]
        assert chi_square(counts.ravel(), mass.ravel() * len(drawn), 3 * len(SIDES))

        wanted = call("albedo", name, case, wi, drawn[:1], alpha, eta)[0, 0]
        value = call("eval", name, case, wi, fine.reshape(-1, 3), alpha, eta).sum(1).reshape(angle.shape[0], -1)
        assert value.min() >= 0
        assert (value * angle).sum() == pytest.approx(wanted, abs=0.007)
        weight = call("eval", name, case, wi, drawn[at > 0], alpha, eta).sum(1) / at[at > 0]
        assert weight.sum() / len(drawn) == pytest.approx(wanted, abs=0.007)


@pytest.mark.parametrize(("name", "case", "eta"), SIDES)
def test_a_surface_is_reciprocal_but_for_the_square_of_the_index(name, case, eta):
    """eval(a, b) / (|cos b| n_b²) = eval(b, a) / (|cos a| n_a²), of radiance over the square of the index."""
    a = direction(0.9, 0.2)
    for theta, phi in ((0.5, 2.5), (1.2, -2.0), (0.2, 0.2), (2.7, 3.0), (2.2, -2.5), (1.8, 0.3)):
        b = direction(theta, phi)
        beyond = b[2] < 0
        if beyond and coats[name].role != "border":
            continue
        forth = call("eval", name, case, a, b[None], 0.4, eta)[0].sum()
        # From the other side all is seen upside down, and the indices the other way round.
        flip = -1 if beyond else 1
        back = call("eval", name, case, flip * b, flip * a[None], 0.4, 1 / eta if beyond else eta)[0].sum()
        assert forth > 0 or name == "wet_ggx"
        squared = eta**2 if beyond else 1.0
        assert forth / (abs(b[2]) * squared) == pytest.approx(back / a[2], rel=2e-3)


def behind(scene, roughness=0.3, **changes):
    """The scene with a rough border for a wall."""
    tissue = scene.tissue.model_copy(update={"roughness": roughness, **changes})
    return scene.with_(tissue=tissue, **BORDER)


@pytest.mark.parametrize("roughness", [0.02, 0.1, 0.3, 1.0])
def test_furnace_behind_a_rough_border(roughness):
    """Tissue of albedo 1 under even light: radiance 1, whatever is reflected and refracted on the way."""
    for angle in (0.0, 70.0):
        found = radiance([behind(half_space([Constant()], angle, albedo=(1.0,) * 3), roughness)], 2048, 1)[0]
        z, error = z_scores(found, 1.0)
        assert error.max() < 0.006
        assert np.abs(z).max() < 3.5


def test_a_border_that_is_hardly_rough_is_the_smooth_wall():
    """Against theory under even light, and against the smooth wall's connections with a lamp in sight of the wall."""
    found = radiance([behind(half_space([Constant()]), 0.02)], 4096, 1)[0]
    expected = reflectance(np.array(ALBEDO), "refracting", IOR) + ((IOR - 1) / (IOR + 1)) ** 2
    z, error = z_scores(found, expected)
    assert np.abs(z).max() < 3.5
    assert error.max() < 0.015
    lamp = Disk(position=(0.5, 0.0, 1.0), direction=(0.0, 0.0, 1.0), radius=3.0, intensity=50.0)
    smooth = half_space([lamp], fov=30, specular=1.0).with_(max_scatterings=64)
    found = same_image(radiance([behind(smooth, 0.02)], 2048, 1)[0], radiance([smooth], 2048, 2)[0])
    assert found.rms < 1.3
    assert np.abs(found.mean_z).max() < 3.5


def sky():
    return EnvironmentMap(pixels=[[[3.0, 2.0, 1.0], [0.2, 0.5, 1.0]], [[1.0, 1.0, 1.0], [0.0, 0.2, 0.4]]])


LIT = {
    "tube": lambda: tube_scene(size=(6, 4), sigma_t=[0, 1.5, 1.5, 1.5], albedo=[[0.9, 0.6, 0.4]] * 4),
    "sky": lambda: half_space(
        [sky(), Disk(position=(9.0, 12.0, 5.0), radius=3.0, intensity=50.0, attached="world")], 30.0
    ),
}


OVER = {"rough": {**BORDER, "roughness": 0.4}, "matte": COVERED, "bumpy": {"coat": BUMPY}}
QUICK = {("rough", "tube"), ("rough", "sky"), ("bumpy", "sky")}


@pytest.mark.parametrize(
    ("over", "lit"),
    [pytest.param(o, n, marks=() if (o, n) in QUICK else pytest.mark.slow) for o in OVER for n in LIT],
)
def test_both_integrators_see_the_same(over, lit):
    """Light from either side of the wall, by emitters and by the sky, with MIS in the one and none in the other."""
    scene, changes = LIT[lit](), dict(OVER[over])
    tissue = scene.tissue.model_copy(update={"roughness": changes.pop("roughness", 0.1)})
    scene = scene.with_(**{"boundary": "straight", **changes, "tissue": tissue})
    found = oracle(scene, 1024 if lit == "sky" else 512 if (over, lit) in QUICK else 8192)
    assert found.rms < 1.25
    assert np.abs(found.mean_z).max() < 3.5


@pytest.mark.parametrize("render", [None, radiance_simple], ids=["volpath", "simple"])
def test_a_matte_wall_by_lamberts_law(render):
    """reflectance / π × E cos θ, from wherever it is seen; and no light comes out of the tissue behind it."""
    tissue = {"sigma_t": (0, 9, 9, 9), "albedo": ((0.25, 0.5, 0.75),) * 4}
    for degrees in (0, 60):
        lamp = (Directional(direction=tuple(towards(degrees)), irradiance=2.0, attached="world"),)
        for at in (0, 40):
            scene = wall(at, lamp, **tissue).with_(**COVERED)
            image = render(scene, 4, 1) if render else radiance([scene], 4, 1)[0]
            wanted = reflectance(np.array([0.25, 0.5, 0.75])) / np.pi * 2 * np.cos(np.radians(degrees))
            np.testing.assert_allclose(image.mean.mean((0, 1)), wanted, rtol=1e-4)


def test_bumps_keep_all_light_and_have_the_slope_they_are_told():
    """A bumpy wall in even light loses nothing; under a lamp from above it is as dark as its normals say."""
    white = {"sigma_t": (0, 9, 9, 9), "albedo": ((1, 1, 1),) * 4}
    for degrees in (0, 45, 75, 85):
        scene = wall(degrees, fov=2, size=24, **white).with_(coat=BUMPY)
        assert seen(scene, 64) == pytest.approx(reflectance(1.0), abs=1e-3)
    # Seen and lit along the wall's normal, a normal that leans by slope s shows 1 / sqrt(1 + s²) of the light.
    lamp = (Directional(direction=(0.0, 0.0, 1.0), irradiance=np.pi, attached="world"),)
    image = radiance([wall(0, lamp, fov=4, size=48, **white).with_(coat={**BUMPY, "bumps": 0.15})], 16, 1)[0]
    slope = (reflectance(1.0) / image.mean[..., 0].astype(float)) ** 2 - 1
    assert np.sqrt(slope.mean()) == pytest.approx(0.15, rel=0.1)


def test_a_path_between_matte_walls_ends():
    """Turns by a cover count as scatterings, and are cut and played for as such: a closed tube keeps all paths."""
    white, grey = (tube_scene(sigma_t=[0, 3, 3, 3], albedo=[[a] * 3] * 4).with_(**COVERED) for a in (1.0, 0.9))
    assert radiance([white.with_(max_scatterings=3)], 4, 1)[0].cut == 1
    found = radiance([grey], 16, 1)[0]
    assert found.cut == 0
    assert found.mean.min() > 0


def test_what_a_surface_cannot_be_in():
    plain = tube_scene()
    for changes, said in (
        ({"coat": "rough_dielectric"}, "rough_dielectric bends light at a wall: it needs .* boundary refracting"),
        ({"coat": "lambertian", "boundary": "refracting"}, "lambertian lets nothing pass a wall: .* boundary straight"),
        (
            {"coat": "lambertian", "surface": "hybrid"},
            "lambertian lets nothing pass a wall: it needs surface interface",
        ),
        ({**BORDER, "tissue": plain.tissue.model_copy(update={"ior": 1.0})}, "ior must be at least 1.01, got 1"),
    ):
        with pytest.raises(UserError, match=said) as error:
            plain.with_(**changes)
        assert error.value.code == "INVALID_VALUE"
    for changes in (COVERED, BORDER):
        with pytest.raises(UserError, match="gradients cover the coat wet_ggx, not") as error:
            gradient(plain.with_(**changes), np.ones((8, 12, 3)), ("albedo",), 1, 1)
        assert error.value.code == "NOT_DIFFERENTIABLE"
    with pytest.raises(UserError, match="rough_dielectric bends light at a wall"):
        configure(ct="sample", coat="rough_dielectric")


def test_surfaces_change_light_and_not_the_geometry():
    plain = tube_scene()
    for changes in (BORDER, {"coat": BUMPY}):
        other = plain.with_(**changes)
        assert Scene.from_dict(other.medium, other.to_dict()).coat == other.coat
        np.testing.assert_array_equal(geometry(other).z_depth, geometry(plain).z_depth)
        np.testing.assert_array_equal(geometry(other).normal, geometry(plain).normal)
