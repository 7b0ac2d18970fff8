"""
A first fit
===========

Two views of an airway stand in for a clinic's photographs: their tissue's colour is hidden, and found from them.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from endorender.dataset import configure, generate, open_dataset
from endorender.inverse import Plan, calibrate
from endorender.inverse.report import before_after, rows
from endorender.scene import LOOKS

scope = {"contrast": 1.0, "veil": [0.0, 0.0, 0.0], "gamma": 2.2, "exposure": 0.14}  # is known, as is its light
hidden = [(0.95, 0.85, 0.8)] * 4  # albedo in red, green, blue at the tissue's HU
tissue = [{"name": "clinic", "look": "pale_pink", "tissue": {"albedo": hidden}}]
config = configure(ct="sample", views=2, size="36x27", spp=48, variations=tissue, response=scope, mucosa="none", seed=3)
clinic = generate(config, Path(tempfile.mkdtemp(), "photographs"))
light = open_dataset(clinic).frames[0].parameters["light"]
done = calibrate(
    "sample", clinic, clinic / "dataset.json", clinic / "manifest.jsonl", look="pale_pink", light=light, response=scope,
    names=["tissue.albedo"], size=36, plan=Plan(steps=5, first=12, last=48, jacobian=6, repeats=0),
)  # fmt: skip
plt.figure(before_after(done.found))
plt.show()

# %%
# The albedo of the wall, at 40 HU: where the fit began, what was hidden, what was found, with 95 % intervals.
found = [row for row in rows(done.found) if "albedo[40 HU]" in row["parameter"]]
value, low, high = (np.array([row[key] for row in found]) for key in ("value", "low", "high"))
plt.errorbar(range(3), value, yerr=[value - low, high - value], fmt="o", capsize=4, label="found")
plt.plot(range(3), hidden[2], "x", color="k", label="hidden")
plt.plot(range(3), LOOKS["pale_pink"].tissue.albedo[2], "_", color="k", label="begun at")
plt.xticks(range(3), ["red", "green", "blue"])
plt.legend()
