"""
Tissue of one's own
===================

The same view in four tissues: a look that ships, more blood, the same with less scattering, and a drier coat.
"""

import matplotlib.pyplot as plt

from endorender.ct import open_ct, prepare
from endorender.render import denoise, guides, in_parts
from endorender.scene import LOOKS, Endoscope, Mucosa, MucosaPhysical, Pinhole, Response, Scene
from endorender.scene.trajectory import poses

ready = prepare(open_ct("phantom:1"))
pose = poses(ready.volume, ready.lumen, ready.path, 8, seed=0)[4]
tissues = {
    "pale pink": LOOKS["pale_pink"].tissue,
    "physical, 1 % blood": MucosaPhysical(blood=0.01),
    "physical, 4 % blood": MucosaPhysical(blood=0.04),
    "the same, dry": MucosaPhysical(blood=0.04, roughness=0.5, specular=0.3),
}
figure, panels = plt.subplots(1, len(tissues), figsize=(13, 2.8))
for panel, (name, tissue) in zip(panels, tissues.items()):
    camera = Pinhole(width=128, height=96)
    scene = Scene(ready.volume, camera, pose, (Endoscope(),), tissue, ready.lumen.threshold, mucosa=Mucosa())
    light, mirrored = in_parts([scene], spp=8, seed=1)[0]
    radiance = denoise(light.mean, guides([scene])[0], mirrored)
    panel.imshow(Response().resolve(radiance).apply(radiance))
    panel.set_title(name)
    panel.axis("off")
plt.show()
