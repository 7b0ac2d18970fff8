"""A trained network as an ONNX file, checked against torch before it is kept."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path

import numpy as np
import torch

from endorender.errors import UserError
from endorender.outputs import whole
from training.checkpoint import load_run
from training.files import write_json

TOLERANCE = 1e-3  # of the depth


def export_model(run: str | Path, out: str | Path, size: str = "128x96") -> Path:
    """Writes a run's network as ONNX, and beside it OUT.json: what goes in, what comes out, which weights.

    size: "WIDTHxHEIGHT" of the images, fixed in the file; the batch's size is free. Input `image`:
    (B, 3, H, W) float32 display values in 0..1; output `z_depth`: (B, 1, H, W) float32 mm.

    Errors (UserError): a network that is more than a network (cnn_crf), an existing file, a missing
    extra, or an export whose depths differ from torch's by more than a thousandth.
    """
    out = Path(out)
    for path in (out, out.with_name(out.name + ".json")):
        if path.exists():
            raise UserError(f"{path} exists: choose another file", "EXISTS")
    width, height = _size(size)
    found = load_run(run)
    network = found.network
    if not network.exportable:
        name = found.info["config"]["model"]["type"]
        raise UserError(f"{name} cannot be exported: its superpixels are no network", "NOT_EXPORTABLE")
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  (torch.onnx needs it)
    except ImportError as error:
        raise UserError(
            f"export needs {error.name}; install it with: pip install 'endorender[onnx]'", "MISSING_EXTRA"
        ) from None
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, height, width, generator=generator)
    content = _onnx(network, image)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    worst = 0.0
    for batch in (image, torch.rand(3, 3, height, width, generator=generator)):
        with torch.no_grad():
            expected = network(batch).numpy()
        depth = session.run(["z_depth"], {"image": batch.numpy()})[0]
        worst = max(worst, float(np.max(np.abs(depth / expected - 1))))
    if not worst < TOLERANCE:
        raise UserError(
            f"the exported network differs from torch by {worst:.2g} of the depth: it is not kept", "EXPORT"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    about = {
        "input": {"image": ["batch", 3, height, width], "values": "display RGB in 0..1, float32"},
        "output": {"z_depth": ["batch", 1, height, width], "unit": "mm"},
        "model": found.info["config"]["model"],
        "weights": found.weights,
        "scale": found.info.get("scale"),  # of training: by it `predict` brings pictures to the network
        "largest_relative_difference_from_torch": worst,
    }
    with whole(out, out.with_name(out.name + ".json")) as (file, beside):
        file.write_bytes(content)
        write_json(beside, about)
    return out


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit() and 8 <= int(width) <= 8192 and 8 <= int(height) <= 8192):
        raise UserError(f"size must be WIDTHxHEIGHT in pixels, such as 128x96, got {text}", "INVALID_VALUE")
    return int(width), int(height)


def _onnx(network: torch.nn.Module, image: torch.Tensor) -> bytes:
    """The file's bytes. torch's exporter reports its progress to whoever listens; nobody does here."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            program = torch.onnx.export(
                network.eval(), (image,), input_names=["image"], output_names=["z_depth"], dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},), verbose=False,
            )  # fmt: skip
            assert program is not None
            return bytes(program.model_proto.SerializeToString())
        finally:
            logging.disable(logging.NOTSET)
