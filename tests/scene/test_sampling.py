"""Every sampler against its own density: chi-square, normalisation, mean cosine; the coat's energy and reciprocity."""

import numpy as np
import pytest
from scipy.special import spherical_jn, spherical_yn
from scipy.stats import chi2

from endorender.engine import ti
from endorender.render.device import backend, rng
from endorender.render.device.cache import kernels
from endorender.scene import phase_functions
from endorender.scene import surface as coat_model
from endorender.scene.phase import MOST_FLOATS

N = 1_000_000
CORNERS = np.array([0.0, 1 - 2.0**-24], np.float32)  # the ends of what the generator can give


def uniforms(n, seed):
    return np.random.default_rng(seed).random(n, np.float32)


def on_device(function, *arrays):
    """Apply a scalar Taichi function elementwise."""
    backend.ensure()
    out = np.empty_like(arrays[0])

    if len(arrays) == 2:

        @ti.kernel
        def run(a: ti.types.ndarray(), b: ti.types.ndarray(), o: ti.types.ndarray()):
            for i in range(o.shape[0]):
                o[i] = function(a[i], b[i])

    run(*map(np.ascontiguousarray, arrays), out)
    return out


def chi_square(counts, expected, tests):
    """Whether counts fit expectations at α = 0.01 over a family of tests (Šidák); sparse bins are pooled."""
    order = np.argsort(expected)
    counts, expected = counts[order].astype(float), expected[order]
    pooled = np.searchsorted(np.cumsum(expected), 5.0)
    counts = np.append(counts[pooled + 1 :], counts[: pooled + 1].sum())
    expected = np.append(expected[pooled + 1 :], expected[: pooled + 1].sum())
    statistic = ((counts - expected) ** 2 / expected).sum()
    return statistic < chi2.isf(1 - (1 - 0.01) ** (1 / tests), len(counts) - 1)


@kernels
def phase_kernel(cls):
    """One kernel for all cases of a model: cos θ of u where `what` is 0, the density of cos θ elsewhere."""
    sample, pdf = cls.device()

    @ti.kernel
    def run(what: int, x: ti.types.ndarray(), p: ti.types.ndarray(), data: ti.types.ndarray(), out: ti.types.ndarray()):
        for i in range(out.shape[0]):
            q = ti.Vector([p[c] for c in range(cls.FLOATS)])
            if what == 0:
                out[i] = sample(x[i], q, data)
            else:
                out[i] = pdf(x[i], q, data)

    return run


def phase_call(what, model, x):
    """`sample` or `pdf` of a phase function, elementwise over float32 x."""
    backend.ensure()
    p = np.array(model.parameters(), np.float32)
    assert len(p) == model.FLOATS <= MOST_FLOATS
    out = np.empty_like(x)
    phase_kernel(type(model))(["sample", "pdf"].index(what), np.ascontiguousarray(x), p, model.data(), out)
    return out


def cosine_cells():
    """Edges (n + 1,) and float32 middles (n,) of cells over cos θ, fine towards both poles.

    Single precision near cos θ = 1 comes in steps of 6e-8, and peaks are a few dozen steps wide: edges lie half-way
    between two numbers, so that rounding moves no sample over an edge.
    """
    theta = np.concatenate([np.linspace(0, np.pi, 4001), np.geomspace(1e-4, 3, 4000)])
    single = np.unique(np.cos(np.concatenate([theta, np.pi - theta])).astype(np.float32))
    edges = 0.5 * (single.astype(float) + np.nextafter(single, np.float32(2)))
    edges[[0, -1]] = -1, 1
    return edges, (0.5 * (edges[1:] + edges[:-1])).astype(np.float32)


@pytest.mark.parametrize(("name", "case"), phase_functions.cases())
def test_phase_functions(name, case):
    model = phase_functions.build({"type": name, **case})
    cos = phase_call("sample", model, uniforms(N, 1))
    ends = phase_call("sample", model, CORNERS)
    assert np.isfinite(ends).all()
    assert np.abs(ends).max() <= 1
    assert np.abs(cos).max() <= 1
    assert abs(cos.mean(dtype=float) - model.mean_cosine()) < 0.01
    density = phase_call("pdf", model, np.concatenate([cos, ends, np.array([-1, 1], np.float32)]))
    assert np.isfinite(density).all()
    assert density.min() >= 0
    edges, middle = cosine_cells()
    mass = 2 * np.pi * phase_call("pdf", model, middle).astype(float) * np.diff(edges)
    assert abs(mass.sum() - 1) < 1e-3
    assert abs((mass * middle).sum() - model.mean_cosine()) < 1e-3
    # A hundred bins of about equal chance, wherever the model has its peaks.
    first = np.unique(np.searchsorted(np.cumsum(mass) / mass.sum(), np.linspace(0, 1, 101)[:-1]))
    counts = np.histogram(cos, np.append(edges[first], 1))[0]
    expected = np.add.reduceat(mass, first) / mass.sum()
    assert len(counts) > 50
    assert chi_square(counts, expected * N, len(phase_functions.cases()))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"type": "draine", "g": 0.7, "alpha": 0}, {"type": "hg", "g": 0.7}),
        ({"type": "draine", "g": 0, "alpha": 1}, "rayleigh"),
        ({"type": "cornette_shanks", "g": -0.4}, {"type": "draine", "g": -0.4, "alpha": 1}),
        ({"type": "double_hg", "g1": 0.5, "w": 1}, {"type": "hg", "g": 0.5}),
        ({"type": "schlick", "k": 0}, "isotropic"),
        ({"type": "von_mises_fisher", "kappa": 0}, "isotropic"),
        ({"type": "tabulated", "cos_theta": [-1, 1], "values": [7, 7]}, "isotropic"),
    ],
)
def test_phase_functions_meet_where_one_is_a_case_of_the_other(one, other):
    one, other = phase_functions.build(one), phase_functions.build(other)
    cos = np.linspace(-1, 1, 2001, dtype=np.float32)
    np.testing.assert_allclose(phase_call("pdf", one, cos), phase_call("pdf", other, cos), rtol=1e-5)
    # Both fall from 1 to -1 as u grows: the same inverse CDF, then, not only the same density.
    u = uniforms(2000, 4)
    np.testing.assert_allclose(phase_call("sample", one, u), phase_call("sample", other, u), atol=2e-5)


@pytest.mark.parametrize("g", [1 - 1e-9, -1 + 1e-9, 0.99999, -0.99999])
@pytest.mark.parametrize("name", ["hg", "double_hg", "schlick", "draine", "cornette_shanks"])
def test_peaks_too_narrow_for_single_precision_stay_finite(name, g):
    """Also where the cosine of two unit vectors comes out beyond ±1, as it does by rounding."""
    key = {"double_hg": "g1", "schlick": "k"}.get(name, "g")
    model = phase_functions.build({"type": name, key: g})
    cos = phase_call("sample", model, np.concatenate([CORNERS, uniforms(1000, 7)]))
    assert np.isfinite(cos).all()
    assert np.abs(cos).max() <= 1
    beyond = np.array([1.0000002, -1.0000002, 1, -1, 0], np.float32)
    density = phase_call("pdf", model, np.concatenate([cos, beyond]))
    assert np.isfinite(density).all()
    assert density.min() >= 0


@pytest.mark.parametrize("kappa", [1e-6, 1e-2, 0.0999, 0.1001, 3.0, 8.5, 300.0, 1e4])
def test_von_mises_fisher_joins_its_series_to_its_logarithm(kappa):
    """Density and CDF at the samples against double precision, on both sides of where the form changes."""
    model = phase_functions.build({"type": "von_mises_fisher", "kappa": kappa})
    u = uniforms(2000, 5)
    cos = phase_call("sample", model, u)
    mass = np.expm1(-kappa * (1 - cos.astype(float))) / np.expm1(-2 * kappa)
    np.testing.assert_allclose(mass, u, atol=3e-7 + 6e-8 * kappa)  # cos θ comes in steps of 6e-8
    density = kappa / (-2 * np.pi * np.expm1(-2 * kappa)) * np.exp(kappa * (cos.astype(float) - 1))
    np.testing.assert_allclose(phase_call("pdf", model, cos), density, rtol=2e-6 + 1e-7 * kappa)


@pytest.mark.parametrize(("g", "alpha"), [(0.8, 1.0), (-0.5, 40.0), (0.05, 250.0), (0.0, 7.0), (0.97, 3.0)])
def test_draine_inverts_its_cdf(g, alpha):
    """The antiderivative in double precision, from cos θ = 1, at the samples."""
    model = phase_functions.build({"type": "draine", "g": g, "alpha": alpha})
    u = uniforms(2000, 6)
    cos = phase_call("sample", model, u).astype(float)
    nodes, weights = np.polynomial.legendre.leggauss(64)
    # In q = |x - x'| the density has no peak: cos θ = (1 + g² - q²) / 2g, and Legendre's rule is exact enough.
    if g == 0:
        points = cos[:, None] + (1 - cos[:, None]) * (nodes + 1) / 2
        mass = (1 + alpha * points**2) @ weights * (1 - cos) / 2 / (2 + 2 * alpha / 3)
    else:
        q = np.sqrt((1 - g) ** 2 + 2 * g * (1 - cos))
        points = (1 - g) + (q - (1 - g))[:, None] * (nodes + 1) / 2
        weight = 1 + alpha * ((1 + g * g - points**2) / (2 * g)) ** 2
        mass = (weight / points**2) @ weights * (q - (1 - g)) / 2 / g
        mass *= (1 - g * g) / (2 * (1 + alpha * (1 + 2 * g * g) / 3))
    np.testing.assert_allclose(mass, u, atol=2e-5 if g < 0.9 else 2e-4)


def mie_mean_cosine(x, m):
    """Mean cosine of a sphere of size parameter x and real index m, by Mie's series (Bohren & Huffman 1983, ch. 4)."""
    n = np.arange(1, int(x + 4 * np.cbrt(x) + 4))
    r, s = x * spherical_jn(n, x), m * x * spherical_jn(n, m * x)
    r1, s1 = (spherical_jn(n, z) + z * spherical_jn(n, z, True) for z in (x, m * x))
    h = spherical_jn(n, x) + 1j * spherical_yn(n, x)
    t, t1 = x * h, h + x * (spherical_jn(n, x, True) + 1j * spherical_yn(n, x, True))
    a = (m * s * r1 - r * s1) / (m * s * t1 - t * s1)
    b = (s * r1 - m * r * s1) / (s * t1 - m * t * s1)
    total = ((2 * n + 1) * (np.abs(a) ** 2 + np.abs(b) ** 2)).sum()
    k = n[:-1]
    pairs = k * (k + 2) / (k + 1) * (a[:-1] * a[1:].conj() + b[:-1] * b[1:].conj()).real
    own = (2 * n + 1) / (n * (n + 1)) * (a * b.conj()).real
    return 2 * (pairs.sum() + own.sum()) / total


@pytest.mark.parametrize("diameter", [0.05, 0.1, 0.3, 0.5, 0.7, 1.0, 1.4, 2.5, 4.0, 8.0, 20.0, 45.0])
def test_hg_draine_has_the_mean_cosine_of_mie_theory(diameter):
    """Water droplets (index 1.333) in visible light. The fit is to shapes, so means agree to some hundredths.

    Up to 0.5 µm Mie's mean changes much from violet to red (sixfold at 0.05 µm); the fit's lies near violet.
    """
    fit = phase_functions.build({"type": "hg_draine", "d": diameter}).mean_cosine()
    if diameter <= 0.5:
        low, high = (mie_mean_cosine(np.pi * diameter / w, 1.333) for w in (0.5, 0.34))
        assert low < fit < high
    else:
        visible = [mie_mean_cosine(np.pi * diameter / w, 1.333) for w in np.linspace(0.4, 0.7, 61)]
        assert abs(fit - np.mean(visible)) < 0.05


def coat(call, wi, other, alpha, ior=1.4):
    """Value (call='eval', 'pdf') or direction (call='sample', other = two uniforms) of the coat around +z."""
    backend.ensure()
    device = coat_model.device()
    out = np.empty((len(other), 3 if call == "sample" else 1), np.float32)
    which = {"sample": 0, "pdf": 1, "eval": 2}[call]

    @ti.kernel
    def run(w: ti.math.vec3, a: float, eta: float, o: ti.types.ndarray(), r: ti.types.ndarray()):
        for i in range(r.shape[0]):
            n = ti.math.vec3(0, 0, 1)
            if ti.static(which == 0):
                d = device.sample(w, n, a, o[i, 0], o[i, 1])
                for c in ti.static(range(3)):
                    r[i, c] = d[c]
            elif ti.static(which == 1):
                r[i, 0] = device.pdf(w, ti.math.vec3(o[i, 0], o[i, 1], o[i, 2]), n, a)
            else:
                r[i, 0] = device.eval(w, ti.math.vec3(o[i, 0], o[i, 1], o[i, 2]), n, a, eta)

    run(ti.math.vec3(*wi), alpha, ior, np.ascontiguousarray(other, np.float32), out)
    return out


def direction(theta, phi=0.3):
    return np.array([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)])


def sphere_grid(rows, cols):
    """Midpoints (rows·cols, 3) of equal solid angles and that solid angle."""
    z = 1 - (np.arange(rows) + 0.5) / rows * 2
    phi = (np.arange(cols) + 0.5) / cols * 2 * np.pi - np.pi
    zz, pp = np.meshgrid(z, phi, indexing="ij")
    s = np.sqrt(1 - zz**2)
    return np.stack([s * np.cos(pp), s * np.sin(pp), zz], -1).reshape(-1, 3), 4 * np.pi / (rows * cols)


@pytest.mark.parametrize("theta", [0.1, 0.8, 1.4])
@pytest.mark.parametrize("alpha", [0.2, 0.6])
def test_coat_sampling(theta, alpha):
    wi = direction(theta)
    u = np.stack([uniforms(N, 2), uniforms(N, 3)], -1)
    d = coat("sample", wi, u, alpha)
    corners = coat("sample", wi, np.stack(np.meshgrid(CORNERS, CORNERS), -1).reshape(-1, 2), alpha)
    assert np.isfinite(corners).all()
    fine, cell = sphere_grid(40 * 24, 20 * 24)
    density = coat("pdf", wi, fine, alpha)[:, 0].astype(float).reshape(40, 24, 20, 24).sum((1, 3)) * cell
    assert abs(density.sum() - 1) < 2e-3
    bins = (np.linspace(-1, 1, 41), np.linspace(-np.pi, np.pi, 21))
    counts = np.histogram2d(-d[:, 2], np.arctan2(d[:, 1], d[:, 0]), bins)[0]
    assert np.abs(counts / N - density).max() < 2e-3
    # The chi-square takes 1e5 of them: at 1e6 the midpoint rule's own error would be what is tested.
    some = d[: N // 10]
    counts = np.histogram2d(-some[:, 2], np.arctan2(some[:, 1], some[:, 0]), bins)[0]
    assert chi_square(counts.ravel(), density.ravel() * len(some), 6)


@pytest.mark.parametrize("alpha", [0.06, 0.3, 1.0])
def test_coat_keeps_energy_and_is_reciprocal(alpha):
    fine, cell = sphere_grid(1200, 600)
    up = fine[fine[:, 2] > 0]
    for theta in (0.05, 0.7, 1.3):
        total = coat("eval", direction(theta), up, alpha).astype(float).sum() * cell
        assert 0 < total <= 1.01
    a, b = direction(0.9, 0.2), direction(0.5, 2.5)
    forth = coat("eval", a, b[None], alpha)[0, 0] / b[2]
    back = coat("eval", b, a[None], alpha)[0, 0] / a[2]
    assert forth == pytest.approx(back, rel=1e-3)


def test_fresnel_at_normal_incidence():
    """((n - 1) / (n + 1))², and total at grazing."""
    device = coat_model.device()
    out = on_device(device.fresnel, np.array([1.0, 1e-4], np.float32), np.full(2, 1.4, np.float32))
    assert out[0] == pytest.approx((0.4 / 2.4) ** 2, rel=1e-4)
    assert out[1] > 0.99


def test_random_numbers_are_uniform_and_streams_are_uncorrelated():
    backend.ensure()
    out = np.empty((1000, 1000), np.float32)
    start, rand = rng.start, rng.rand

    @ti.kernel
    def run(key: ti.u64, o: ti.types.ndarray()):
        for i in range(o.shape[0]):
            state = start(key, i, 0)
            for j in range(o.shape[1]):
                o[i, j] = rand(state)

    run(rng.key(0, 0), out)
    assert out.min() >= 0
    assert out.max() < 1
    assert chi_square(np.histogram(out, 100, (0, 1))[0], np.full(100, out.size / 100), 3)
    pairs = np.histogram2d(out[:, :-1].ravel(), out[:, 1:].ravel(), 20, ((0, 1), (0, 1)))[0]
    assert chi_square(pairs.ravel(), np.full(400, pairs.sum() / 400), 3)
    neighbours = np.histogram2d(out[:-1].ravel(), out[1:].ravel(), 20, ((0, 1), (0, 1)))[0]
    assert chi_square(neighbours.ravel(), np.full(400, neighbours.sum() / 400), 3)
