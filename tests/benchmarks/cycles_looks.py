"""What Blender's Cycles is told and what becomes of its pictures, without Blender: conventions, looks, the video chain.

A look is one patient's: mucosa, film of mucus, lights at the tip, lens, exposure control, colour and video processing.
All of it is drawn apart from endorender's tissues, lights and responses, and shares no code or numbers with them.
"""

from __future__ import annotations

import dataclasses
import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from endorender.scene.camera import Pinhole
from endorender.viewer.shapes import Mesh

BLENDER = np.diag([1.0, -1, -1, 1])  # Blender's cameras look along -z with y up; OpenCV's along +z with y down
TONES = (  # view transform of Blender, its contrast look
    ("AgX", "AgX - High Contrast"),
    ("AgX", "AgX - Medium High Contrast"),
    ("AgX", "AgX - Punchy"),
    ("Filmic", "High Contrast"),
    ("Filmic", "Very High Contrast"),
    ("Standard", "None"),
)
MASKS = ("none", "corners", "octagon", "circle")
CLEARANCE_MM = 3.3  # that poses keep from the wall; lamps stand within it
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


def camera_to_world(pose: np.ndarray) -> np.ndarray:
    """(4, 4) world_from_camera with OpenCV axes -> Blender's matrix_world of a camera, in the same world."""
    return np.asarray(pose, float) @ BLENDER


def lens(camera: Pinhole) -> dict[str, float]:
    """A camera's `lens` (mm), `shift_x`, `shift_y` for a sensor of 36 mm fitted to the width; square pixels.

    Shifts are parts of the width. A camera shifted to the right has its principal point to the left of the middle; one
    shifted up has it below. Blender's picture reaches from -0.5 to width - 0.5 in our coordinates of pixels.
    """
    k, w, h = camera.K, camera.width, camera.height
    if not np.isclose(k[0, 0], k[1, 1]):
        raise ValueError("the camera must have square pixels")
    return {
        "lens": 36.0 * k[0, 0] / w,
        "shift_x": ((w - 1) / 2 - k[0, 2]) / w,
        "shift_y": (k[1, 2] - (h - 1) / 2) / w,
    }


def facing_lumen(mesh: Mesh) -> np.ndarray:
    """(F, 3) faces counter-clockwise as seen from the lumen: before them is air, behind them tissue, which scatters."""
    return np.ascontiguousarray(mesh.faces[:, ::-1])


@dataclass(frozen=True)
class Lamp:
    """A light at the tip. at: mm right and down of the lens. size: diameter, mm. opening: full angle, degrees. tilt:
    degrees towards the axis of view."""

    kind: str
    at: tuple[float, float]
    size: float
    opening: float
    tilt: float
    watt: float
    colour: tuple[float, float, float]


def lamp_on_camera(lamp: Lamp) -> np.ndarray:
    """(4, 4) camera_from_lamp with Blender's axes: a lamp shines along its -z."""
    x, y = lamp.at[0], -lamp.at[1]
    inwards = -np.array([x, y, 0.0]) / np.hypot(x, y)
    c, s = np.cos(np.radians(lamp.tilt)), np.sin(np.radians(lamp.tilt))
    back = np.array([0.0, 0.0, c]) - s * inwards
    up = np.cross((0.0, 0.0, 1.0), inwards)  # across the tilt, so that it stays as it is
    out = np.eye(4)
    out[:3, :3] = np.stack([np.cross(up, back), up, back], 1)
    out[:2, 3] = x, y
    return out


@dataclass(frozen=True)
class Look:
    """One patient's pictures. Lengths in mm, colours linear."""

    base: tuple[float, float, float]
    second: tuple[float, float, float]
    flush: tuple[float, float, float]
    vessel: tuple[float, float, float]
    mottle_mm: float
    flush_mm: float
    flush_share: float
    grain: float
    vessel_mm: float
    vessel_width: float
    vessel_strength: float
    subsurface: float
    radius: tuple[float, float, float]
    anisotropy: float
    roughness: float
    specular: float
    coat: float
    coat_roughness: float
    coat_ior: float
    bumps: tuple[tuple[float, float], ...]
    film_mm: float
    lamps: tuple[Lamp, ...]
    fov: float
    off_centre: tuple[float, float]
    mask: str
    mask_diameter: float
    mask_corner: float
    tone: tuple[str, str]
    key: float
    held: float
    saturation: float
    white: tuple[float, float, float]
    sharpen: float
    blur: float
    noise: float
    chroma: float
    jpeg: int
    texture: float

    def camera(self, width: int, height: int) -> Pinhole:
        """The pinhole, with its mask."""
        return Pinhole(
            width=width,
            height=height,
            fov=None,
            fx=width / 2 / np.tan(np.radians(self.fov) / 2),
            cx=(width - 1) / 2 + self.off_centre[0] * width,
            cy=(height - 1) / 2 + self.off_centre[1] * height,
            mask=self.mask,
            mask_diameter=self.mask_diameter,
            mask_corner=self.mask_corner,
        )

    def told(self) -> dict[str, Any]:
        """As JSON holds it."""
        return dataclasses.asdict(self)


def draw(rng: np.random.Generator) -> Look:
    """A patient's look."""

    def near(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    def colour(low: tuple[float, ...], high: tuple[float, ...]) -> tuple[float, float, float]:
        r, g, b = (round(float(x), 4) for x in rng.uniform(low, high))
        return r, g, b

    green = near(0.22, 0.44)
    base = (near(0.62, 0.86), green, green * near(0.6, 0.9))
    paler = near(0.15, 0.5)
    second = tuple(c + paler * (p - c) for c, p in zip(base, (0.93, 0.74, 0.58)))
    wall = rng.uniform(0, 1, 3)
    return Look(
        base=base,
        second=second,  # type: ignore[arg-type]
        flush=colour((0.55, 0.08, 0.06), (0.72, 0.18, 0.13)),
        vessel=colour((0.32, 0.02, 0.03), (0.5, 0.08, 0.09)),
        mottle_mm=near(6, 16),
        flush_mm=near(9, 30),
        flush_share=near(0.0, 0.55),
        grain=near(0.04, 0.16),
        vessel_mm=near(6, 13),
        vessel_width=near(0.035, 0.075),
        vessel_strength=near(0.25, 0.85),
        subsurface=near(0.6, 1.0),
        radius=(near(1.2, 3.0), near(0.4, 1.0), near(0.2, 0.6)),
        anisotropy=near(0.0, 0.8),
        roughness=near(0.35, 0.6),
        specular=near(0.2, 0.5),
        coat=near(0.4, 1.0),
        coat_roughness=near(0.06, 0.2),
        coat_ior=near(1.33, 1.42),
        bumps=((near(3.0, 7.0), near(0.1, 0.35)), (near(0.9, 1.8), near(0.03, 0.1))),
        film_mm=near(0.02, 0.1),
        lamps=_lamps(rng),
        fov=near(85, 118),
        off_centre=(near(-0.02, 0.02), near(-0.02, 0.02)),
        mask=MASKS[int(wall[0] * len(MASKS))],
        mask_diameter=near(1.1, 1.3),
        mask_corner=near(0.15, 0.35),
        tone=TONES[int(wall[1] * len(TONES))],
        key=near(0.11, 0.25),
        held=near(0.25, 0.75),
        saturation=near(1.0, 1.35),
        white=(near(0.95, 1.08), 1.0, near(0.85, 1.05)),
        sharpen=near(0.0, 0.6),
        blur=near(0.0, 0.6),
        noise=near(1.0, 4.0),
        chroma=near(0.8, 3.2),
        jpeg=int(60 + 36 * wall[2]),
        texture=near(0, 1000),
    )


def _lamps(rng: np.random.Generator) -> tuple[Lamp, ...]:
    """Two or three, around the lens; area lights, or spots as of light guides with a narrow cone."""
    count, turn = int(rng.integers(2, 4)), float(rng.uniform(0, 360))
    kind = "AREA" if rng.uniform() < 0.6 else "SPOT"
    found = []
    for n in range(count):
        angle, off = np.radians(turn + 360 * n / count + rng.uniform(-20, 20)), rng.uniform(1.4, 2.6)
        warm = rng.uniform(0.0, 0.18)
        found.append(
            Lamp(
                kind=kind,
                at=(round(float(off * np.cos(angle)), 3), round(float(off * np.sin(angle)), 3)),
                size=float(rng.uniform(0.5, 1.3)),
                opening=float(rng.uniform(140, 180) if kind == "AREA" else rng.uniform(110, 150)),
                tilt=float(rng.uniform(0, 12)),
                watt=float(rng.uniform(0.6, 1.0)),
                colour=(1.0, round(float(1 - 0.45 * warm), 4), round(float(1 - warm), 4)),
            )
        )
    return tuple(found)


def stops(linear: np.ndarray, look: Look, seen: np.ndarray) -> float:
    """Exposure control: log2 of the gain. It meters the middle of what is seen, and holds the brightest tenth back.

    linear: (H, W, 3) radiance. seen: (H, W) bool.
    """
    y = linear @ LUMINANCE
    h, w = y.shape
    v, u = np.mgrid[0:h, 0:w]
    middle = np.exp(-2 * (((u - w / 2) / w) ** 2 + ((v - h / 2) / h) ** 2)) * seen
    level = np.exp((np.log(np.maximum(y, 1e-9)) * middle).sum() / middle.sum())
    bright = np.percentile(y[seen], 90) / 3.5
    metered = level ** (1 - look.held) * bright**look.held
    return float(np.log2(look.key / max(metered, 1e-9)))


def video(shown: np.ndarray, look: Look, seen: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A processor's picture, (H, W, 3) uint8, black outside what is seen.

    White balance, saturation, a soft lens, noise of luminance and, coarser, of colour, edge enhancement, JPEG.

    shown: (H, W, 3) 0..1, display values of the view transform.
    """
    from PIL import Image
    from scipy.ndimage import gaussian_filter

    h, w = seen.shape
    x = shown * np.array(look.white)
    grey = (x @ LUMINANCE)[..., None]
    x = grey + look.saturation * (x - grey)
    x = gaussian_filter(x, (look.blur, look.blur, 0))
    coarse = gaussian_filter(rng.standard_normal((h, w, 3)), (1.0, 1.0, 0)) * 2 * np.sqrt(np.pi)
    darker = 1.4 - 0.8 * np.clip(grey, 0, 1)  # gain and shot noise show where it is dark
    x = x + darker / 255 * (
        look.noise * rng.standard_normal((h, w, 1)) + look.chroma * (coarse - coarse.mean(-1)[..., None])
    )
    x = x + look.sharpen * (x - gaussian_filter(x, (1.0, 1.0, 0)))
    x = np.clip(np.round(255 * x), 0, 255) * seen[..., None]
    file = io.BytesIO()
    Image.fromarray(x.astype(np.uint8)).save(file, "JPEG", quality=look.jpeg)
    return np.asarray(Image.open(file).convert("RGB")) * seen[..., None].astype(np.uint8)
