"""
A first picture
===============

A phantom colon, a camera on its way, light from the lens: path-traced and denoised.
"""

import matplotlib.pyplot as plt

from endorender.ct import open_ct, prepare
from endorender.render import denoise, guides, in_parts
from endorender.scene import LOOKS, Endoscope, Mucosa, Pinhole, Scene
from endorender.scene.trajectory import poses

ready = prepare(open_ct("phantom:1"))
pose = poses(ready.volume, ready.lumen, ready.path, 8, seed=0, look_aside=10.0)[4]
look = LOOKS["pale_pink"]
camera = Pinhole(width=240, height=180, fov=100)
scene = Scene(ready.volume, camera, pose, (Endoscope(),), look.tissue, ready.lumen.threshold, mucosa=Mucosa())
light, mirrored = in_parts([scene], spp=8, seed=1)[0]
radiance = denoise(light.mean, guides([scene])[0], mirrored)
plt.figure(figsize=(6, 4.5))
plt.imshow(look.response.resolve(radiance).apply(radiance))
plt.axis("off")
plt.show()
