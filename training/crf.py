"""Continuous conditional random field over superpixels (Liu, Shen, Lin & Reid 2015, DCNF).

E(y) = Σ_p (y_p − z_p)² + Σ_(p,q) ½ R_pq (y_p − y_q)², the sum over ordered pairs of neighbours, so that
E = yᵀAy − 2zᵀy + zᵀz with A = I + D − R, D_pp = Σ_q R_pq. P(y) ∝ exp(−E) is a Gaussian of precision 2A and
mean A⁻¹z: likelihood and MAP are exact. A ≥ I is positive definite, so its Cholesky factor exists.
"""

from __future__ import annotations

from math import log, pi

import torch
from torch import Tensor


def coupling(pairs: Tensor, strength: Tensor, count: int) -> Tensor:
    """A = I + D − R (N, N). pairs: (E, 2) unordered neighbours, each once; strength: (E,) R_pq ≥ 0."""
    r = strength.new_zeros(count, count)
    r = r.index_put((pairs[:, 0], pairs[:, 1]), strength)
    r = r + r.T
    return torch.eye(count, dtype=r.dtype, device=r.device) + torch.diag(r.sum(1)) - r


def most_probable(a: Tensor, z: Tensor) -> Tensor:
    """MAP: y* = A⁻¹z, (N,). Liu 2015, eq. 12."""
    return torch.cholesky_solve(z[:, None], torch.linalg.cholesky(a))[:, 0]


def negative_log_likelihood(a: Tensor, z: Tensor, y: Tensor, observed: Tensor | None = None) -> Tensor:
    """−ln P(y) = yᵀAy − 2zᵀy + zᵀA⁻¹z − ½ ln|A| + ½ N ln π, a scalar. Liu 2015, eq. 10.

    a: (N, N); z, y: (N,). observed: (N,) bool; where it is False y is not known, and P is the marginal
    over the others: Gaussian again, with the covariance ½ (A⁻¹)_OO.
    """
    factor = torch.linalg.cholesky(a)
    if observed is None or bool(observed.all()):
        mean = torch.cholesky_solve(z[:, None], factor)[:, 0]
        quadratic = y @ a @ y - 2 * z @ y + z @ mean
        return quadratic - factor.diagonal().log().sum() + 0.5 * len(y) * log(pi)
    inverse = torch.cholesky_inverse(factor)
    d = (y - inverse @ z)[observed]
    part = torch.linalg.cholesky(inverse[observed][:, observed])
    quadratic = d @ torch.cholesky_solve(d[:, None], part)[:, 0]
    return quadratic + part.diagonal().log().sum() + 0.5 * len(d) * log(pi)
