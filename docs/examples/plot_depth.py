"""
What comes with a picture
=========================

Depth, normals and the wall's colour, exact and without noise, once for all conditions of a view.
"""

import matplotlib.pyplot as plt
import numpy as np

from endorender.ct import open_ct, prepare
from endorender.render import geometry, synthetic
from endorender.scene import Endoscope, Pinhole, Scene
from endorender.scene.trajectory import poses

ready = prepare(open_ct("sample"))  # the shipped airway
pose = poses(ready.volume, ready.lumen, ready.path, 6, seed=0)[3]
scene = Scene(ready.volume, Pinhole(width=200, height=150), pose, (Endoscope(),), threshold=ready.lumen.threshold)
seen = geometry(scene)
plain = synthetic(scene, seen)[..., 0]
figure, panels = plt.subplots(1, 3, figsize=(13, 3.4))
panels[0].imshow(np.minimum(plain / np.percentile(plain, 95), 1) ** 0.45, cmap="gray")
panels[0].set_title("the plain renderer")
shown = panels[1].imshow(seen.z_depth)
figure.colorbar(shown, ax=panels[1], label="z-depth, mm")
panels[2].imshow(0.5 - 0.5 * np.nan_to_num(seen.normal))
panels[2].set_title("normals, camera frame")
for panel in panels:
    panel.axis("off")
plt.show()
