"""A trained network, from its run or from its ONNX file, that takes pictures of any size."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from endorender.errors import UserError
from training import scale as scales
from training.checkpoint import RUN, load_run
from training.devices import torch_device
from training.shipping import run_folder

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Real, UInt8

MOST_PIXELS = 1 << 24  # that a network is shown at once
GAINS = (0.7, 1.4)  # of the copies' light, through the power law 2.2
GAMMA = 2.2


class Exported(torch.nn.Module):
    """An ONNX file that `export-model` wrote. Its size is fixed: smaller pictures lie in the middle of black."""

    def __init__(self, path: Path):
        super().__init__()
        try:
            import onnxruntime
        except ImportError:
            raise UserError(
                "an ONNX file needs onnxruntime; install it with: pip install 'endorender[onnx]'", "MISSING_EXTRA"
            ) from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4
        try:
            content = path.read_bytes()
            self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            _, _, height, width = self.session.get_inputs()[0].shape
            names = self.session.get_inputs()[0].name, self.session.get_outputs()[0].name
            if names != ("image", "z_depth"):
                raise ValueError(names)
            self.size = (int(height), int(width))
        except Exception:  # of a dozen kinds, which repeat the path
            raise UserError(
                "the network is no ONNX file of `endorender export-model`: export it again", "NOT_WEIGHTS"
            ) from None
        self.weights = hashlib.sha256(content).hexdigest()[:16]

    def fitting(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size (height, width), shrunk until the file takes it."""
        share = min(1.0, *(own / asked for own, asked in zip(self.size, size)))
        return max(1, round(size[0] * share)), max(1, round(size[1] * share))

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> Float32[Tensor, "B 1 H W"]:
        """(B, 3, H, W) no larger than the file's size -> (B, 1, H, W) mm."""
        spare = [own - given for own, given in zip(self.size, image.shape[-2:])]
        top, left = spare[0] // 2, spare[1] // 2
        whole = F.pad(image, (left, spare[1] - left, top, spare[0] - top))
        depth = torch.from_numpy(self.session.run(["z_depth"], {"image": whole.cpu().numpy()})[0])
        return depth[..., top : top + image.shape[-2], left : left + image.shape[-1]]


@dataclass(frozen=True)
class Predictor:
    """network: pictures -> depth. scale: of its training, None where unknown. weights: their fingerprint."""

    network: torch.nn.Module
    scale: scales.Scale | None
    weights: str
    device: torch.device

    def size(
        self, picture: tuple[int, int], focal: Real[np.ndarray, "3 3"] | None, wanted: str | None
    ) -> tuple[int, int]:
        """(height, width) at which a picture of this size is seen. focal: (3, 3) intrinsics, None where unknown."""
        (size,) = scales.sizes([SimpleNamespace(K=focal)], picture, self.scale, wanted)
        if isinstance(self.network, Exported):
            return self.network.fitting(size)
        if size[0] * size[1] > MOST_PIXELS:
            raise UserError(
                f"the network would be shown {size[1]}x{size[0]} pixels: check the focal length of --camera, or give "
                "--input-size",
                "SIZE",
            )
        return size

    @torch.no_grad()
    def depth(
        self, image: UInt8[np.ndarray, "H W 3"], size: tuple[int, int], copies: bool
    ) -> tuple[Float32[np.ndarray, "H W"], Float32[np.ndarray, "H W"] | None]:
        """(H, W) float32 mm of a picture (H, W, 3) uint8 seen at `size`, and the confidence or None.

        confidence: exp(−s), s the standard deviation of ln z over the picture, its mirror image, and two copies with
        0.7 and 1.4 times the light. So 0.9 says that copies agree within a tenth. It tells how far chance matters, not
        how large the error is: what misleads all copies alike is not seen, and it is not calibrated.
        """
        picture = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).to(torch.float32)[None] / 255
        picture = picture.to(self.device)
        plain = self._seen(picture, size)
        found = plain[0, 0].cpu().numpy()
        if not (np.isfinite(found).all() and (found > 0).all()):
            raise UserError("the network gives depths that are not finite: train it again", "DIVERGED")
        if not copies:
            return found, None
        others = [self._seen((gain * picture**GAMMA).clamp(0, 1) ** (1 / GAMMA), size) for gain in GAINS]
        every = torch.stack([plain, self._seen(picture.flip(-1), size).flip(-1), *others])
        logs = every.log()
        off = logs - logs.mean(0)
        spread = off.square().mean(0).sqrt()  # torch's std along the first axis takes five times as long
        return found, torch.exp(-spread)[0, 0].cpu().numpy()

    def _seen(self, picture: Tensor, size: tuple[int, int]) -> Tensor:
        return scales.seen_at(self.network, picture, size)


def predictor(run: str | Path | None = None, device: str = "auto") -> Predictor:
    """Opens a run's folder or an ONNX file; None: the network that ships. Errors (UserError): NOT_FOUND, NOT_WEIGHTS,
    MISSING_EXTRA, NO_DEVICE."""
    path = run_folder(run)
    if path.is_file():
        network = Exported(path)
        return Predictor(network, _told(path, network.size), network.weights, torch.device("cpu"))
    if not (path / RUN).is_file():
        raise UserError("there is neither a run nor an ONNX file at RUN", "NOT_FOUND")
    found = load_run(path)
    on = torch_device(device)
    return Predictor(found.network.to(on), scales.of_run(found.info), found.weights, on)


def _told(path: Path, size: tuple[int, int]) -> scales.Scale:
    """The scale of training, from the JSON beside an ONNX file; that of the file where it says nothing."""
    about: Any = None
    try:
        about = json.loads(path.with_name(path.name + ".json").read_text(encoding="utf-8"))
        known = scales.of_run(about)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        known = None
    return known or scales.Scale((size[1], size[0]), None)
