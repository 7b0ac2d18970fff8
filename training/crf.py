"""Continuous conditional random field over superpixels (Liu, Shen, Lin & Reid 2015, DCNF).

E(y) = Σ_p (y_p − z_p)² + Σ_(p,q) ½ R_pq (y_p − y_q)², the sum over ordered pairs of neighbours, so that
E = yᵀAy − 2zᵀy + zᵀz with A = I + D − R, D_pp = Σ_q R_pq. P(y) ∝ exp(−E) is a Gaussian of precision 2A and
mean A⁻¹z: likelihood and MAP are exact. A ≥ I is positive definite, so its Cholesky factor exists.
"""

from __future__ import annotations

from math import log, pi
from typing import TYPE_CHECKING, Any

import scipy.sparse
import torch
from scipy.sparse.linalg import splu
from torch import Tensor
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float64, Int


def coupling(pairs: Int[Tensor, "E 2"], strength: Float[Tensor, " E"], count: int) -> Float[Tensor, "{count} {count}"]:
    """A = I + D − R (N, N). pairs: (E, 2) unordered neighbours, each once; strength: (E,) R_pq ≥ 0."""
    r = strength.new_zeros(count, count)
    r = r.index_put((pairs[:, 0], pairs[:, 1]), strength)
    r = r + r.T
    return torch.eye(count, dtype=r.dtype, device=r.device) + torch.diag(r.sum(1)) - r


def most_probable(
    pairs: Int[Tensor, "E 2"], strength: Float[Tensor, " E"], z: Float64[Tensor, " N"]
) -> Float64[Tensor, " N"]:
    """MAP: y* = A⁻¹z, (N,). Liu 2015, eq. 12. pairs, strength: as in `coupling`; z: (N,) float64.

    Neighbours on a picture make a planar graph, whose sparse factor is cheap. On the CPU; first derivatives only.
    """
    y: Tensor = _Solution.apply(strength, z, pairs)
    return y


class _Solution(torch.autograd.Function):
    """A⁻¹z by SuperLU. With w = A⁻¹ ∂L/∂y: ∂L/∂z = w, ∂L/∂R_pq = −(w_p − w_q)(y_p − y_q)."""

    @staticmethod
    def forward(ctx: Any, strength: Tensor, z: Tensor, pairs: Tensor) -> Tensor:
        n, r = len(z), strength.detach().cpu().numpy()
        p, q = pairs.cpu().numpy().T
        beside = scipy.sparse.coo_array((r, (p, q)), shape=(n, n))
        beside = beside + beside.T
        a = scipy.sparse.diags_array(1 + beside.sum(axis=0)) - beside
        symmetric = {"SymmetricMode": True}
        factor = splu(a.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=symmetric)
        y = torch.from_numpy(factor.solve(z.detach().cpu().numpy())).to(z.device)
        ctx.factor = factor
        ctx.save_for_backward(y, pairs)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        y, pairs = ctx.saved_tensors
        w = torch.from_numpy(ctx.factor.solve(gradient.cpu().numpy())).to(gradient.device)
        p, q = pairs.T
        return -(w[p] - w[q]) * (y[p] - y[q]), w, None


def negative_log_likelihood(
    a: Float[Tensor, "N N"], z: Float[Tensor, " N"], y: Float[Tensor, " N"], observed: Bool[Tensor, " N"] | None = None
) -> Float[Tensor, ""]:
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
