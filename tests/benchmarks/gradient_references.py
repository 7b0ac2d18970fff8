"""Gradients of the reference scenes by Mitsuba 3 (`prbvolpath`), stored in tests/refs/gradients.json.

    python tests/benchmarks/gradient_references.py [SCENE ...]

Of Σ weights × picture, with the weights of `tests.render.gradients.weights`, pictures of 16×16 pixels. Each number
stands with its standard error, from the spread of the rounds. Needs the extra `bench` and a libLLVM (see
reference_scenes.py).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks.reference_scenes import load_mitsuba, mitsuba_scene
from tests.render.gradients import STORED, dense, reference, weights
from tests.render.reference import Reference, grids

ROUNDS, SPP = 16, {"a": 1024, "b": 16, "c": 64}


def arrays(ref: Reference, mi, dr, spp: int, seed: int) -> dict[str, np.ndarray]:
    """One estimate of every gradient. sigma_t: (X, Y, Z), albedo: (X, Y, Z, 3); of the cube both are one number."""
    scene = mitsuba_scene(ref, mi)
    params = mi.traverse(scene)
    cube = ref.medium == "cube"
    ends = {"sigma_t": "sigma_t.value.value" if cube else "sigma_t.data", "g": "phase_function.g"}
    ends["albedo"] = "albedo.value.value" if cube else "albedo.data"
    keys = {name: next(k for k in params.keys() if k.endswith(end)) for name, end in ends.items()}  # noqa: SIM118
    for key in keys.values():
        dr.enable_grad(params[key])
    params.update()
    image = mi.render(scene, params, spp=spp, spp_grad=spp, seed=2 * seed, seed_grad=2 * seed + 1)
    dr.backward(dr.sum(image * mi.TensorXf(weights(ref.size))))
    found = {name: np.array(dr.grad(params[key])) for name, key in keys.items()}
    if not cube:  # theirs is [z, y, x]
        shape = grids(ref.medium)[0].shape[::-1]
        found["sigma_t"] = found["sigma_t"].reshape(shape).transpose(2, 1, 0)
        found["albedo"] = found["albedo"].reshape(*shape, 3).transpose(2, 1, 0, 3)
    return found


def sums(ref: Reference, found: dict[str, np.ndarray]) -> dict[str, float]:
    """What is stored and compared of gradients as in `arrays`."""
    total = {"g": float(found["g"].sum())}
    if ref.medium == "cube":
        return {"sigma_t": float(found["sigma_t"].sum()), **total, "albedo": float(found["albedo"].sum())}
    by_channel = found["albedo"].sum((0, 1, 2))
    return {
        "dense sigma_t": float(found["sigma_t"][dense(grids(ref.medium)[0])].sum()),
        **total,
        **{f"albedo {c}": float(v) for c, v in zip("rgb", by_channel)},
    }


def main() -> None:
    """Run the scenes that are named, or all, and store what comes out."""
    mi = load_mitsuba()
    import drjit as dr

    dr.set_thread_count(1)
    stored = json.loads(STORED.read_text()) if STORED.exists() else {}
    for name in sys.argv[1:] or ["a_g-0.5", "c_hdr_g0.0"]:
        ref = reference(name)
        rounds = [sums(ref, arrays(ref, mi, dr, SPP[name[0]], n)) for n in range(ROUNDS)]
        stored[name] = {
            key: [
                float(f"{np.mean([r[key] for r in rounds]):.6g}"),
                float(f"{np.std([r[key] for r in rounds], ddof=1) / ROUNDS**0.5:.2g}"),
            ]
            for key in rounds[0]
        }
        print(name, stored[name], flush=True)
        STORED.write_text(json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    main()
