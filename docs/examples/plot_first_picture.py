"""
A first picture
===============

A phantom colon by a scope's wide lens, lit from beside it: path-traced and denoised. `endorender render` and
`configure` give such pictures by themselves (the preset `typical`); here each part is put together by hand.
"""

import matplotlib.pyplot as plt

from endorender.ct import open_ct, prepare
from endorender.render import denoise, guides, in_parts
from endorender.scene import Endoscope, Fisheye, Mucosa, MucosaPhysical, Response, Scene
from endorender.scene.trajectory import poses

ready = prepare(open_ct("phantom:1"))
pose = poses(ready.volume, ready.lumen, ready.path, 8, seed=0, look_aside=10.0)[4]
camera = Fisheye(width=240, height=180, fov=140, mask="corners", vignetting=2)
tissue = MucosaPhysical(organ="own", scattering=1.9, power=1.15, blood=0.016, roughness=0.04)
mucosa = Mucosa(redness=0.25, mottling=0.3, film=0.06, film_scale=7, levelling=2.5)
scene = Scene(ready.volume, camera, pose, (Endoscope(),), tissue, ready.lumen.threshold, mucosa=mucosa)
light, mirrored = in_parts([scene], spp=8, seed=1)[0]
radiance = denoise(light.mean, guides([scene])[0], mirrored)
response = Response(target=150, contrast=1.6, hue=0.1, white_balance=(0.9, 1, 1.08))
plt.figure(figsize=(6, 4.5))
plt.imshow(response.apply(radiance, mask=camera.visible()))
plt.axis("off")
plt.show()
