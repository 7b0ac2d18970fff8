"""Another camera at the same place: rolled, of another focal length, behind a scope's cut corners, in a mirror.

All are changes of pixels and intrinsics alone. u = K d(ray), whatever the lens's distortion d, which is symmetric about
the axis: so a crop that is enlarged is what a camera of longer focal length sees, a turn by K R K⁻¹ what a rolled one
does, and the z-depth of a point is what it was, in mm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from training.data import Batch

EDGE = 1.1  # neighbours whose depths are in a larger ratio lie on two surfaces


def filling(angle: Float[Tensor, " B"], k: Float[Tensor, "B 3 3"], size: tuple[int, int]) -> Float[Tensor, " B"]:
    """(B,) the least focal length factor at which a camera rolled by `angle` looks nowhere beyond the picture.

    Its view is then the largest of the picture's shape that lies in the turned picture; both have one centre. angle:
    (B,) radians; k: (B, 3, 3); size: (height, width).
    """
    m = _back(angle, k).abs()
    half = m.new_tensor([(size[1] - 1) / 2, (size[0] - 1) / 2])
    return ((m * half).sum(2) / half).amax(1)


def seen_by(batch: Batch, angle: Float[Tensor, " B"], zoom: Float[Tensor, " B"]) -> Batch:
    """What a camera rolled by `angle` (B,) radians, of `zoom` (B,) times the focal length, sees of the pictures.

    The middle of the picture stays in the middle; K tells where the axis goes. What was not seen is black and
    invalid. Depth is interpolated on one surface (1/z, which is linear in pixels on a plane) and taken from the nearest
    pixel beside an edge, where a mean would lie on neither side. An image that would lose all its valid pixels stays
    as it is.
    """
    height, width = batch["image"].shape[-2:]
    k = batch["K"].to(angle)
    middle = k.new_tensor([(width - 1) / 2, (height - 1) / 2])
    back = _back(angle, k) / zoom[:, None, None]

    # Smaller pictures are averaged over two by two samples, not picked from.
    parts = 2 if bool((zoom < 1).any()) else 1
    x, y = _sources(back, middle, (height, width), parts)
    image = F.grid_sample(
        batch["image"],
        torch.stack([x / middle[0] - 1, y / middle[1] - 1], -1),
        mode="bilinear",
        padding_mode="border",
        align_corners=True,
    )
    x, y = _sources(back, middle, (height, width), 1)
    image = F.avg_pool2d(image, parts) * _inside(x, y, (height, width))
    z, mask = _depth(batch["z_depth"], batch["mask"], x, y)

    turned = k.clone()
    turned[:, :2, :2] = k[:, :2, :2] * zoom[:, None, None]
    axis = torch.linalg.solve(back, (k[:, :2, 2] - middle)[..., None])[..., 0]  # where the old axis comes to lie
    turned[:, :2, 2] = middle + axis
    kept = mask.flatten(1).any(1)
    there = kept[:, None, None, None]
    return {
        "image": image.clamp(0, 1).where(there, batch["image"]),
        "z_depth": z.where(there, batch["z_depth"]),
        "mask": mask.where(there, batch["mask"]),
        "K": turned.to(batch["K"].dtype).where(kept[:, None, None], batch["K"]),
        "id": batch["id"],
    }


def grown(batch: Batch, stride: int, above: float, before: float) -> Batch:
    """Pictures grown to a size that `stride` divides by repeating their edge; what is added is invalid.

    above, before: in 0..1, which share of the rows is added above and of the columns before. A network that always has
    its padding on one side knows that side by it, and errs there on pictures that need none.
    """
    down, right = (-n % stride for n in batch["image"].shape[-2:])
    if not down and not right:
        return batch
    top, left = int(above * (down + 1)), int(before * (right + 1))
    sides = (left, right - left, top, down - top)
    k = batch["K"].clone()
    k[:, :2, 2] += k.new_tensor([left, top])
    return {
        "image": F.pad(batch["image"], sides, mode="replicate"),
        "z_depth": F.pad(batch["z_depth"], sides),
        "mask": F.pad(batch["mask"], sides),
        "K": k,
        "id": batch["id"],
    }


def cut(batch: Batch, lengths: Float[Tensor, "B 4"]) -> Batch:
    """Corners cut off at 45°, black and invalid, as many scopes show. lengths: (B, 4) pixels along each side, of the
    corners top left, top right, bottom left, bottom right. An image whose valid pixels all lie there stays as it is."""
    height, width = batch["image"].shape[-2:]
    x = torch.arange(width, device=lengths.device) + 0.5
    y = (torch.arange(height, device=lengths.device) + 0.5)[:, None]
    reach = torch.stack([x + y, width - x + y, x + height - y, width - x + height - y])
    open_ = (reach >= lengths[..., None, None]).all(1, keepdim=True)
    mask = batch["mask"] & open_
    there = mask.flatten(1).any(1)[:, None, None, None]
    return {
        "image": (batch["image"] * open_).where(there, batch["image"]),
        "z_depth": (batch["z_depth"] * mask).where(there, batch["z_depth"]),
        "mask": mask.where(there, batch["mask"]),
        "K": batch["K"],
        "id": batch["id"],
    }


def mirrored(batch: Batch, flip: Bool[Tensor, " B"]) -> Batch:
    """Left and right exchanged where `flip` (B,) says so; the principal point goes with them."""
    each = flip[:, None, None, None]
    k = batch["K"].clone()
    k[:, 0, 2] = k[:, 0, 2].where(~flip, batch["image"].shape[-1] - 1 - k[:, 0, 2])
    return {
        "image": batch["image"].where(~each, batch["image"].flip(-1)),
        "z_depth": batch["z_depth"].where(~each, batch["z_depth"].flip(-1)),
        "mask": batch["mask"].where(~each, batch["mask"].flip(-1)),
        "K": k,
        "id": batch["id"],
    }


def _back(angle: Tensor, k: Tensor) -> Tensor:
    """(B, 2, 2) from offsets in the rolled picture to those in the picture: the upper left of K R⁻¹ K⁻¹."""
    focal = k[:, :2, :2].to(angle)
    rows = [torch.stack([angle.cos(), angle.sin()], -1), torch.stack([-angle.sin(), angle.cos()], -1)]
    return focal @ torch.stack(rows, 1) @ torch.linalg.inv(focal)


def _sources(back: Tensor, middle: Tensor, size: tuple[int, int], parts: int) -> tuple[Tensor, Tensor]:
    """Where in the picture the pixels of the new one look, (B, H, W) each; parts²: samples of each pixel."""
    height, width = ((torch.arange(parts * n, device=back.device, dtype=back.dtype) + 0.5) / parts - 0.5 for n in size)
    y, x = torch.meshgrid(height - middle[1], width - middle[0], indexing="ij")
    there = torch.einsum("bij,jhw->bihw", back, torch.stack([x, y])) + middle[:, None, None]
    return there[:, 0], there[:, 1]


def _inside(x: Tensor, y: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, 1, H, W): within the picture to the outer rim of its pixels, but for rounding."""
    rim = 0.5 + 1e-3
    return ((x > -rim) & (x < size[1] - 1 + rim) & (y > -rim) & (y < size[0] - 1 + rim))[:, None]


def _depth(z: Tensor, mask: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """z-depth and mask (B, 1, H, W) at the places (B, H, W)."""
    height, width = z.shape[-2:]

    def at(values: Tensor, column: Tensor, row: Tensor) -> Tensor:
        index = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
        return values.flatten(2).gather(2, index.flatten(1)[:, None]).view(len(z), 1, *x.shape[-2:])

    valid = at(mask, x.round(), y.round()) & _inside(x, y, (height, width))
    nearest = at(z, x.round(), y.round())
    left, top = x.floor().clamp(0, width - 2), y.floor().clamp(0, height - 2)
    places = [(left + i, top + j) for j in (0, 1) for i in (0, 1)]
    around = torch.stack([at(z, *place) for place in places])
    held = torch.stack([at(mask, *place) for place in places]).all(0)
    smooth = held & (around.amax(0) < EDGE * around.amin(0))
    right, down = (x - left).clamp(0, 1)[:, None], (y - top).clamp(0, 1)[:, None]
    weights = torch.stack([(1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down])
    blended = 1 / (weights / around.where(smooth, around.new_ones(()))).sum(0)
    return blended.where(smooth, nearest) * valid, valid
