"""
Depth from one picture
======================

The network that ships, on a rendered view whose depth is known.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from endorender.dataset import configure, generate, open_dataset
from training.predictor import predictor

config = configure(ct="sample", preset="paper4", views=3, size="160x128", spp=8, denoise=True, seed=2)
frames = open_dataset(generate(config, Path(tempfile.mkdtemp(), "frames"))).select(variations=["pale_pink"])
network = predictor()
figure, panels = plt.subplots(len(frames), 3, figsize=(9, 2.5 * len(frames)))
for row, frame in zip(panels, frames):
    truth = frame.geometry()["z_depth"]
    size = network.size(truth.shape, np.array(frame.K), None)  # at which it has learned to see such a lens
    found, _ = network.depth(frame.image(), size, copies=False)
    found *= np.nanmedian(truth) / np.median(found[np.isfinite(truth)])  # its millimetres are a guess
    row[0].imshow(frame.image())
    for panel, depth in zip(row[1:], (found, truth)):
        panel.imshow(depth, vmin=0, vmax=np.nanpercentile(truth, 95))
for panel, title in zip(panels[0], ("picture", "predicted, scaled", "true")):
    panel.set_title(title)
for panel in panels.flat:
    panel.axis("off")
plt.show()
