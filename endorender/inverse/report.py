"""What a fit leaves behind: a configuration for `endorender render`, figures, pictures. No path, no file's name."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from endorender import __version__
from endorender.errors import UserError
from endorender.inverse.calibrate import METERED, Calibrated
from endorender.inverse.fit import Fit
from endorender.inverse.problem import State
from endorender.inverse.target import encoded, of_values
from endorender.inverse.unknowns import EXPOSURE
from endorender.outputs import whole
from endorender.pages import inlined, template
from endorender.scene import cameras, lights, tissues

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENDINGS = (".html", ".before_after.png", ".loss.png", ".json", ".poses.json")
STRENGTH = "the light keeps its strength (only its product with the exposure is seen)"
INK, FAINT, BLUE = "#1f2328", "#d0d7de", "#0072b2"


def configuration(done: Calibrated) -> dict[str, Any]:
    """Keys of a configuration under which `endorender render --config` renders what was fitted."""
    found = done.found
    scene = found.problem.scenes(found.values)[0]
    response = of_values(found.problem.response, found.values).model_dump(mode="json")
    exposure = found.values.get(EXPOSURE, np.array(found.problem.response.exposure))
    if exposure.ndim:
        # Each photograph had its own: automatic exposure that meters like them.
        luma = float(np.clip(done.luma, 1, 254))
        response |= {"exposure": None, "metered": METERED, "target": round(luma, 2)}
    else:
        response["exposure"] = float(exposure)
    camera = cameras.dump(done.camera)
    size = (camera.pop("width"), camera.pop("height"))
    if camera.get("fx") is not None and camera.get("calibrated") is None:
        camera["calibrated"] = list(size)  # so that another --size stretches the intrinsics with the picture
    light = lights.dump(scene.lights[0])
    look = {"name": "fitted", "look": "pale_pink", "tissue": tissues.dump(scene.tissue), "light": light,
            "response": response}  # fmt: skip
    return {
        "size": f"{size[0]}x{size[1]}",
        "surface": scene.surface,
        "boundary": scene.boundary,
        "mucosa": "none",
        "camera": camera,
        "light": light,
        "variations": [look],
    }


def rows(found: Fit) -> list[dict[str, Any]]:
    """One for each fitted number: parameter, value, low, high (95 %), observable."""
    keys = ("parameter", "value", "low", "high", "observable")
    return [dict(zip(keys, row)) for row in found.intervals()]


def text(done: Calibrated) -> str:
    """For people: how it was fitted, and every number with its interval."""
    found = done.found
    lines = [done.method, *done.notes, STRENGTH]
    if found.stopped:
        lines.append(f"the fit {_stopped(found)}: these are the best parameters so far")
    width = max(len(label) for label, *_ in found.intervals())
    for row in rows(found):
        seen = "" if row["observable"] else "  not observable"
        lines.append(f"{row['parameter']:{width}}  {row['value']:9.4g}  [{row['low']:.4g}, {row['high']:.4g}]{seen}")
    lines.append(f"loss {found.before.loss:.6f} -> {found.after.loss:.6f} (mean squared difference of levels 0..1)")
    return "\n".join(lines)


def _stopped(found: Fit) -> str:
    return "diverged" if found.stopped == "diverged" else f"was {found.stopped}"


def files(out: str | Path) -> list[Path]:
    """What `write` may write: OUT, and beside it OUT's name with each of ENDINGS.

    Raises UserError where two would be one file.
    """
    path = Path(out)
    found = [path, *(Path(f"{path.with_suffix('')}{end}") for end in ENDINGS)]
    if path in found[1:]:
        raise UserError("--out names the YAML file, and its name is that of another one: end it in .yaml", "OVERWRITES")
    return found


def write(done: Calibrated, out: str | Path) -> list[Path]:
    """All `files` or none; the last only where poses were refined. Their paths."""
    import yaml

    found = files(out)
    told = "".join(f"# {line}\n" for line in text(done).split("\n"))
    keys = yaml.safe_dump(configuration(done), sort_keys=False, default_flow_style=None, width=110)
    facts: Mapping[str, Any] = {
        "method": done.method,
        "notes": list(done.notes),
        "stopped": done.found.stopped,
        "loss": {"before": done.found.before.loss, "after": done.found.after.loss},
        "parameters": rows(done.found),
        "steps": [{k: None if v != v else v for k, v in row.items()} for row in done.found.history],
    }
    pictures = [png(before_after(done.found)), png(loss_curve(done.found))]
    contents = [
        f"{told}# endorender render --config THIS --ct CT --out FOLDER\n{keys}".encode(),
        page(done, facts, pictures).encode(),
        *pictures,
        (json.dumps(facts, indent=1) + "\n").encode(),
    ]
    if done.poses is not None:
        poses = {"world_from_camera": np.round(done.poses, 9).tolist()}
        contents.append((json.dumps(poses, indent=1) + "\n").encode())
    found = found[: len(contents)]
    found[0].parent.mkdir(parents=True, exist_ok=True)
    with whole(*found) as parts:
        for part, content in zip(parts, contents):
            part.write_bytes(content)
    return found


def page(done: Calibrated, facts: Mapping[str, Any], pictures: Sequence[bytes]) -> str:
    """All of it on a page that stands alone. facts: of the JSON. pictures: `before_after` and `loss_curve` as PNG."""
    seen, curve = map(inlined, pictures)
    told = {"method": done.method, "notes": [*done.notes, STRENGTH], "rows": facts["parameters"], "loss": facts["loss"]}
    return str(
        template("endorender.inverse", "fit.html").render(
            told, pictures=len(done.found.problem.views), stopped=_stopped(done.found) if done.found.stopped else "",
            before_after=seen, loss_curve=curve, version=__version__,
        )
    )  # fmt: skip


def _radiance(found: Fit, state: State) -> np.ndarray:
    """(B, H, W, 3) linear radiance of a state, denoised where the extra is installed: a fit's few samples are noisy."""
    from endorender.render import denoise, guides

    pictures = state.pictures.mean(0)
    if importlib.util.find_spec("pyoidn") is None:
        return np.asarray(pictures)
    return np.stack([denoise(p, guides([s])[0]) for p, s in zip(pictures, found.problem.scenes(state.values))])


def before_after(found: Fit) -> Figure:
    """Each view a row: photograph, before, after, and the difference after (grey: none). Pictures are denoised, where
    the extra `denoise` is installed; the fit saw them as they were."""
    from matplotlib.figure import Figure

    states = (found.before, found.after)
    seen = [_radiance(found, state) for state in states]
    before, after = (
        encoded(state.gain * radiance, of_values(found.problem.response, state.values))
        for state, radiance in zip(states, seen)
    )
    visible = np.stack([view.camera.visible() for view in found.problem.views])
    wanted = found.problem.wanted(seen[1], visible)
    heads = ["photograph", "before", "after", "after − photograph"]
    if found.problem.statistics:
        heads[0] = "photographs' colours\nby rank of luminance"
    height, width = wanted.shape[1:3]
    side = 1.9
    figure = Figure(figsize=(4 * side, len(wanted) * side * height / width + 0.5), layout="constrained")
    panels = figure.subplots(len(wanted), 4, squeeze=False)
    for i, line in enumerate(panels):
        shown = (wanted[i] / 255, before[i], after[i], 0.5 + after[i] - wanted[i] / 255)
        for axes, picture, head in zip(line, shown, heads):
            axes.imshow(np.clip(np.where(visible[i][..., None], picture, 0), 0, 1), interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if i == 0:
                axes.set_title(head, fontsize=8, color=INK)
        line[0].set_ylabel(f"view {i + 1}", fontsize=7, color=INK)
    return figure


def loss_curve(found: Fit) -> Figure:
    """Loss over steps, with the samples per pixel of each."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.0), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    steps = [0, *(row["step"] for row in found.history)]
    losses = [found.before.loss, *(row["loss"] for row in found.history)]
    axes.plot(steps, np.maximum(losses, 1e-8), "o-", color=BLUE, markersize=3.5, linewidth=1.5)
    axes.set_yscale("log")
    axes.set_xlabel("step", fontsize=9, color=INK)
    axes.set_ylabel("mean squared difference, levels 0..1", fontsize=9, color=INK)
    axes.tick_params(labelsize=8, colors=INK)
    samples = sorted({int(row["spp"]) for row in found.history}) or [0]
    axes.set_title(f"{samples[0]} to {samples[-1]} samples per pixel", fontsize=8, color=INK, loc="left")
    return figure


def png(figure: Figure) -> bytes:
    """A figure as a PNG on white; the same figure gives the same bytes."""
    import io

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()
