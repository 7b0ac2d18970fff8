"""
A first network
===============

Plain views of three phantoms: one to learn on, one to validate, one that the network never saw. 60 steps make a network
that begins to see; a useful one takes thousands (docs/training.md).
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from endorender.dataset import configure, generate
from training import figures
from training.compare import load_evaluation, sections
from training.evaluate import evaluate
from training.trainer import train

root = Path(tempfile.mkdtemp())
phantoms = ["phantom:1", "phantom:2", "phantom:3"]
frames = generate(configure(ct=phantoms, preset="synthetic", views=12, size="64x48", seed=1), root / "frames")
run = train({"steps": 60, "learning_rate": 4e-3}, root / "run", frames)
done = evaluate(run, frames, root / "evaluation", label="unet, 60 steps")

# %%
# What the network sees in views of the third phantom, when each picture's scale is given away.
(section,) = sections([load_evaluation(done)])
plt.figure(figures.pictures(section, "median", section.ids()[1::4]))
plt.show()

# %%
# And whether it sees more than the brightness of pixels tells.
plt.figure(figures.without_network(section, "median"))
plt.show()
