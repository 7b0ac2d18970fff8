"""The coat's directional albedo: its table against the integral of what the coat is."""

import numpy as np
import pytest

from endorender.engine import ti
from endorender.render.device import backend
from endorender.scene import surface
from tests.scene.test_sampling import coat, direction


def tabulated(cos, alpha, ior):
    backend.ensure()
    device = surface.device()
    out = np.empty(len(cos), np.float32)

    @ti.kernel
    def run(
        t: ti.types.ndarray(),
        c: ti.types.ndarray(),
        a: ti.types.ndarray(),
        n: ti.types.ndarray(),
        r: ti.types.ndarray(),
    ):
        for i in range(r.shape[0]):
            r[i] = device.albedo(t, c[i], a[i], n[i])

    run(surface.directional_albedo().copy(), *(np.asarray(x, np.float32) for x in (cos, alpha, ior)), out)
    return out


def integral(theta, alpha, ior):
    """∫ BRDF cos over the hemisphere, fine about the mirror direction and at the horizon."""
    edges = np.linspace(0, 1, 1501)
    # Density of nodes: even in the tangent of half the angle from the mirror direction, along cos and azimuth.
    z = np.unique(np.concatenate([edges**3, np.cos(theta) + alpha * np.sinh(np.linspace(-6, 6, 1501)) / 40]))
    z = z[(z >= 0) & (z <= 1)]
    phi = np.pi * edges[:-1:3] ** 3
    phi = np.append(phi, np.pi)
    middle, height = 0.5 * (z[1:] + z[:-1]), np.diff(z)
    turn, width = 0.5 * (phi[1:] + phi[:-1]), np.diff(phi)
    zz, pp = np.meshgrid(middle, turn, indexing="ij")
    s = np.sqrt(1 - zz**2)
    out = np.stack([s * np.cos(pp), s * np.sin(pp), zz], -1).reshape(-1, 3)
    found = coat("eval", direction(theta, np.pi), out, alpha, ior)[:, 0].astype(float)
    return 2 * (found * np.outer(height, width).ravel()).sum()


@pytest.mark.parametrize("alpha", [0.06, 0.3, 0.6])
def test_the_table_is_what_the_coat_reflects(alpha):
    cases = [(theta, ior) for theta in (0.02, 0.9, 1.3, 1.484, 1.55) for ior in (1.15, 1.4, 2.0)]
    found = tabulated(np.cos([t for t, _ in cases]), [alpha] * len(cases), [n for _, n in cases])
    np.testing.assert_allclose(found, [integral(t, alpha, n) for t, n in cases], atol=0.006)


def test_between_nodes_it_is_as_right_as_at_them():
    """Against the same quadrature, at places of their own; the parameters at the ends of what a tissue may have."""
    rng = np.random.default_rng(0)
    cos, alpha, ior = rng.uniform(0, 1, 12) ** 3, 0.02 * 50 ** rng.uniform(0, 1, 12), 1 + 2 * rng.uniform(0, 1, 12) ** 2
    cos[:3], alpha[3:5], ior[5:7] = (1e-4, 0.0872, 1.0), (0.02, 1.0), (1.0, 3.0)
    grid = np.stack(np.meshgrid(cos, alpha, ior, indexing="ij")).reshape(3, -1)
    wanted = surface.integrated(*(np.sort(x).astype(np.float32) for x in (cos, alpha, ior)), 48)
    order = [np.argsort(np.argsort(x)) for x in (cos, alpha, ior)]
    np.testing.assert_allclose(tabulated(*grid).reshape(12, 12, 12), wanted[np.ix_(*order)], atol=0.005)
