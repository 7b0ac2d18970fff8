"""The continuous CRF against sums, integrals and dense formulas that know nothing of Cholesky factors."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from training.crf import coupling, most_probable, negative_log_likelihood
from training.models import models
from training.models.crf_network import PooledFeatures
from training.superpixels import superpixels

PAIRS = torch.tensor([[0, 1], [1, 2], [0, 2], [2, 3]])


def numbers(count=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    strength = torch.rand(len(PAIRS), generator=generator, dtype=torch.float64)
    z, y = (torch.randn(count, generator=generator, dtype=torch.float64) for _ in range(2))
    return strength, z, y


def energy(strength, z, y):
    """Term by term: Σ (y − z)² and, over ordered pairs, Σ ½ R (y_p − y_q)²."""
    total = sum((y[p] - z[p]) ** 2 for p in range(len(z)))
    for (p, q), r in zip(PAIRS.tolist(), strength):
        total = total + 0.5 * r * (y[p] - y[q]) ** 2 + 0.5 * r * (y[q] - y[p]) ** 2
    return total


def test_the_energy_is_the_quadratic_form():
    strength, z, y = numbers()
    a = coupling(PAIRS, strength, 4)
    torch.testing.assert_close(y @ a @ y - 2 * z @ y + z @ z, energy(strength, z, y))


def test_the_most_probable_depths_are_the_energys_minimum():
    strength, z, _ = numbers()
    y = most_probable(PAIRS, strength, z).requires_grad_()
    energy(strength, z, y).backward()
    assert float(y.grad.abs().max()) < 1e-12
    dense = np.linalg.inv(coupling(PAIRS, strength, 4).numpy()) @ z.numpy()
    np.testing.assert_allclose(y.detach().numpy(), dense, rtol=1e-12)


def test_the_likelihood_is_normalised_over_all_depths():
    """∫ exp(−E) over a grid of two superpixels, and the value at one point."""
    strength, z, y = (
        torch.tensor([0.7], dtype=torch.float64),
        torch.tensor([0.3, -0.5], dtype=torch.float64),
        torch.ones(2).double(),
    )
    a = coupling(PAIRS[:1], strength, 2)
    x = np.linspace(-8, 8, 801)
    p, q = np.meshgrid(x, x, indexing="ij")
    e = (p - 0.3) ** 2 + (q + 0.5) ** 2 + 0.7 * (p - q) ** 2
    normaliser = np.exp(-e).sum() * (x[1] - x[0]) ** 2
    at = (1 - 0.3) ** 2 + (1 + 0.5) ** 2
    assert float(negative_log_likelihood(a, z, y)) == pytest.approx(at + np.log(normaliser), abs=1e-9)
    # The marginal of the first: the same integral over the second alone.
    row = np.exp(-((1 - 0.3) ** 2 + (x + 0.5) ** 2 + 0.7 * (1 - x) ** 2)).sum() * (x[1] - x[0])
    some = negative_log_likelihood(a, z, y, torch.tensor([True, False]))
    assert float(some) == pytest.approx(-np.log(row / normaliser), abs=1e-9)


@pytest.mark.parametrize("observed", [None, [True, True, True, True], [True, False, True, True]])
def test_the_likelihood_is_that_of_the_dense_gaussian(observed):
    strength, z, y = numbers(seed=1)
    a = coupling(PAIRS, strength, 4)
    seen = np.array(observed or [True] * 4)
    covariance = torch.linalg.inv(2 * a).numpy()[np.ix_(seen, seen)]
    mean = torch.linalg.solve(a, z).numpy()[seen]
    d = y.numpy()[seen] - mean
    expected = 0.5 * (d @ np.linalg.inv(covariance) @ d + np.linalg.slogdet(2 * np.pi * covariance)[1])
    given = None if observed is None else torch.tensor(observed)
    assert float(negative_log_likelihood(a, z, y, given)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("observed", [None, torch.tensor([True, False, True, True])])
def test_gradients_are_the_derivatives(observed):
    strength, z, y = numbers(seed=2)
    inputs = (strength.requires_grad_(), z.requires_grad_())
    assert torch.autograd.gradcheck(lambda r, z: negative_log_likelihood(coupling(PAIRS, r, 4), z, y, observed), inputs)
    assert torch.autograd.gradcheck(lambda r, z: most_probable(PAIRS, r, z), inputs)


def test_superpixels_cover_the_image_touch_their_neighbours_and_describe_themselves():
    image = np.zeros((40, 60, 3))
    image[:, 30:] = (0.9, 0.2, 0.1)
    found = superpixels(image, 24, 20.0, 4)
    assert sorted(np.unique(found.labels)) == list(range(found.number))
    assert 12 <= found.number <= 48
    touching = set()
    for a, b in ((found.labels[:, :-1], found.labels[:, 1:]), (found.labels[:-1], found.labels[1:])):
        touching |= {(min(p, q), max(p, q)) for p, q in zip(a.ravel(), b.ravel()) if p != q}
    assert {tuple(pair) for pair in found.pairs.tolist()} == touching
    colour, histogram, texture = found.features
    for k in range(found.number):
        inside = image[found.labels == k]
        np.testing.assert_allclose(colour[k], inside.mean(0), atol=1e-6)
        share = np.mean((inside[:, 0] * 4).astype(int).clip(max=3) == 0)
        assert histogram[k, 0] == pytest.approx(share, abs=1e-6)
    np.testing.assert_allclose(histogram.sum(1), 3, atol=1e-5)
    np.testing.assert_allclose(texture.sum(1), 1, atol=1e-5)


def test_alike_neighbours_are_coupled_more_and_betas_stay_positive():
    torch.manual_seed(0)
    network = models.build({"type": "cnn_crf", "superpixels": 20, "width": 8, "levels": 2, "beta": 0.5}).network()
    image = torch.zeros(1, 3, 32, 48)
    image[..., 24:] = 0.8
    (field,) = network.fields(image)
    same, other = [], []
    labels = field.labels.numpy()
    left = {int(k) for k in np.unique(labels) if (np.nonzero(labels == k)[1] < 24).mean() > 0.9}
    right = {int(k) for k in np.unique(labels) if (np.nonzero(labels == k)[1] >= 24).mean() > 0.9}
    off = -field.a.detach()
    for p, q in np.argwhere(np.triu(off.numpy(), 1) > 0).tolist():
        if {p, q} <= left or {p, q} <= right:
            same.append(float(off[p, q]))
        elif len({p, q} & left) == 1 and len({p, q} & right) == 1:
            other.append(float(off[p, q]))
    assert same
    assert other
    assert min(same) > max(other)
    assert max(same) <= 1.5 + 1e-9  # three features of β = 0.5 each, at distance 0
    with torch.no_grad():
        network.raw_beta.fill_(-30.0)
    (loose,) = network.fields(image)
    torch.testing.assert_close(loose.a, torch.eye(len(loose.z), dtype=torch.float64), atol=1e-9, rtol=0)


def test_a_superpixels_features_are_the_mean_of_maps_brought_to_the_pictures_size():
    """And of a picture that the encoder had to pad: 30 x 45 of 32 x 48."""
    torch.manual_seed(1)
    maps = [torch.rand(channels, 32 // k, 48 // k, requires_grad=True) for channels, k in ((3, 1), (5, 2), (7, 8))]
    labels = np.random.default_rng(1).integers(0, 9, (30, 45))
    pool = PooledFeatures(15)
    pool.layers = torch.nn.Identity()
    found = pool(maps, labels)
    large = [F.interpolate(m[None], (32, 48), mode="bilinear", align_corners=False)[0] for m in maps]
    joined = torch.cat(large)[:, :30, :45]
    wanted = torch.stack([joined[:, torch.from_numpy(labels == k)].mean(1) for k in range(9)])
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    weights = torch.rand_like(wanted)
    for got, right in zip(
        *(torch.autograd.grad((t * weights).sum(), maps, retain_graph=True) for t in (found, wanted))
    ):
        torch.testing.assert_close(got, right, atol=1e-5, rtol=1e-4)
