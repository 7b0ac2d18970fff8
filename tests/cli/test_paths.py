"""Whatever is wrong with a scan or its masks, no command repeats where it lies: its path is patient data."""

from __future__ import annotations

import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import taichi  # noqa: F401  `render` reads the CT in this process then, and compiles nothing meanwhile
from PIL import Image

from endorender.ct import CODES, CTError, open_ct, prepare, read_organ
from tests.cli.test_main import run
from tests.ct import made
from tests.ct.corpus import cases
from tests.ct.test_privacy import WORD

COMMANDS = ("inspect", "render", "view", "fit", "gallery")
QUICKLY = {"TOO_LARGE": "65535 rows and columns", "NOT_FOUND": "name far too long"}  # of the corpus


def grid(value: float = 40.0) -> np.ndarray:
    return np.full((40, 40, 60), value, np.int16)


def tube(radius: float, length: float = 25.0) -> np.ndarray:
    """A hollow of that radius and half length in mm, blurred over a voxel; 1 mm voxels."""
    x, y, z = np.meshgrid(*map(np.arange, (40, 40, 60)), indexing="ij")
    distance = np.maximum(np.hypot(x - 20, y - 20) - radius, np.abs(z - 30) - length)
    return np.rint(-1000 + 1040 * np.clip(0.5 + distance, 0, 1)).astype(np.int16)


def bead() -> np.ndarray:
    """A hollow that is wide enough for a scope in one place only."""
    x, y, z = np.meshgrid(*map(np.arange, (40, 40, 60)), indexing="ij")
    thread = np.maximum(np.hypot(x - 20, y - 20) - 2.5, np.abs(z - 30) - 28)
    inside = np.minimum(thread, np.sqrt((x - 20) ** 2 + (y - 20) ** 2 + (z - 30) ** 2) - 3.8) < 0
    return np.where(inside, -1000, 40).astype(np.int16)


def nifti(path: Path, values: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nib.save(nib.Nifti1Image(values, np.eye(4) if affine is None else affine), path)
    return path


def masks(folder: Path) -> dict[str, tuple[Path, str]]:
    """By code: a good scan, and a mask that is refused with it."""
    scan = nifti(folder / f"{WORD}.nii.gz", tube(9))
    (folder / f"{WORD}.txt").write_text(WORD)
    moved = np.eye(4)
    moved[:3, 3] = 30
    ones = np.ones((40, 40, 60), np.uint8)
    cut = nifti(folder / f"{WORD}_cut.nii", ones)
    cut.write_bytes(cut.read_bytes()[:5000])
    made.series(folder / f"{WORD}_ct")
    return {
        "MASK_KIND": (scan, str(folder / f"{WORD}_ct")),
        "MASK_GRID": (scan, str(nifti(folder / f"{WORD}_moved.nii.gz", ones, moved))),
        "MASK_VALUES": (scan, f"{nifti(folder / f'{WORD}_one.nii.gz', ones)}:20"),
        "NOT_FOUND": (scan, str(folder / f"{WORD}_nowhere.nii.gz")),
        "TRUNCATED": (scan, str(cut)),
        "UNREADABLE": (scan, str(_text(folder / f"{WORD}_text.nii"))),
    }


def _text(path: Path) -> Path:
    path.write_text(WORD * 200)
    return path


def scans(folder: Path, code: str) -> tuple[str, tuple[str, ...]]:
    """A scan that is refused with a code, and the options that this takes."""
    if code == "BAD_SPEC":
        return f"phantom:{WORD}", ()
    if code == "NO_SERIES":
        made.series(folder / f"{WORD}_ct", prefix=WORD)
        return str(folder / f"{WORD}_ct"), ("--series", "7")
    if code == "NO_PHASE":
        made.series(folder / f"{WORD}_ct", prefix=WORD)
        return str(folder / f"{WORD}_ct"), ("--phase", "7")
    if code == "LUMEN":
        return str(nifti(folder / f"{WORD}.nii.gz", tube(2))), ("--region", "1")
    if code == "NO_PATH":
        return str(nifti(folder / f"{WORD}.nii.gz", bead())), ("--region", "1")
    found = [c for c in cases() if c.outcome == code and QUICKLY.get(code) in (None, c.name)]
    return str(found[0].make(folder / WORD)), ()


def command(name: str, tmp: Path, ct: str, *options: object) -> tuple[object, ...]:
    """A whole command line; all but the scan is in order."""
    if name in ("inspect", "view"):
        return name, ct, *options, *(("--port", 0) if name == "view" else ())
    if name == "fit":
        pictures = tmp / "pictures"
        pictures.mkdir(exist_ok=True)
        ramp = np.linspace(20, 220, 64).astype(np.uint8)
        shaded = np.repeat(np.broadcast_to(ramp, (48, 64))[..., None], 3, axis=2)
        Image.fromarray(shaded).save(pictures / "0.png")
        (tmp / "camera.yaml").write_text("camera: {type: pinhole}\n")
        return (
            name,
            "--ct",
            ct,
            "--images",
            pictures,
            "--camera",
            tmp / "camera.yaml",
            "--out",
            tmp / "o.yaml",
            *options,
        )
    small = ("--size", "32x24", "--spp", 1, "--views", 1)
    return name, "--ct", ct, "--out", tmp / "out", *small, *options


@pytest.fixture
def refusal(tmp_path, caplog, capfd, monkeypatch):
    """Runs a command that must fail in one line, with everything that was said or logged, by any library."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.chdir(tmp_path)

    def refused(*words: object) -> str:
        result = run(*words)
        assert result.exit_code == 2, result.output
        assert result.stderr.startswith("error: ")
        assert result.stderr.splitlines()[-1].startswith("error: ")
        return result.output + "".join(capfd.readouterr()) + caplog.text

    return refused


@pytest.fixture
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("clinic") / f"{WORD}^JANE"
    place.mkdir()
    return place


# No file has them: a scan that is believed has no code, and masks are tried below.
OF_SCANS = [code for code in CODES if not code.startswith("MASK_")]
# `gallery` takes neither a series nor a region; `inspect` says that there is no lumen, lists series, and goes on.
BUT = {
    ("gallery", "NO_SERIES"),
    ("gallery", "NO_PHASE"),
    ("inspect", "SERIES_AMBIGUOUS"),
    ("inspect", "MIXED_GEOMETRY"),
}


@pytest.mark.parametrize("code", OF_SCANS)
def test_of_a_scan_that_is_refused(code, folder, tmp_path, refusal):
    ct, options = scans(folder, code)
    given = dict(zip(options[::2], options[1::2]))
    with pytest.raises(CTError) as caught:
        prepare(open_ct(ct, given.get("--series"), phase=given.get("--phase")), int(given.get("--region", 1)))
    assert caught.value.code == code
    for name in COMMANDS:
        if (name, code) not in BUT:
            more = () if name == "gallery" else options
            assert WORD not in refusal(*command(name, tmp_path, ct, *more)).replace("phantom:" + WORD, ""), name
    assert not list(tmp_path.glob("out*")) or not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("code", ["MASK_KIND", "MASK_GRID", "MASK_VALUES", "NOT_FOUND", "TRUNCATED", "UNREADABLE"])
def test_of_a_mask_that_is_refused(code, folder, tmp_path, refusal):
    assert {c for c in CODES if c.startswith("MASK_")} <= set(masks(folder))
    ct, mask = masks(folder)[code]
    with pytest.raises(CTError) as caught:
        read_organ(mask, open_ct(ct))
    assert caught.value.code == code
    for name in COMMANDS:
        told = refusal(*command(name, tmp_path, str(ct), "--label", mask))
        assert WORD not in told, name
        assert "mask" in told or "segmentation" in told  # it is not the scan
    tissue = ("--labels", mask.removesuffix(":20"), "--label-tissue", "1=deep_red")
    if code != "MASK_VALUES":
        assert WORD not in refusal(*command("render", tmp_path, str(ct), *tissue))


def test_of_folders_given_in_the_place_of_others(folder, tmp_path, refusal):
    made.series(folder / f"{WORD}_ct", prefix=WORD)
    scan = folder / f"{WORD}_ct"
    wrong = [
        ("verify", scan),
        ("check-geometry", scan),
        ("export", scan, "--layout", "c3vd", "--out", tmp_path / "o"),
        ("train", scan, "--out", tmp_path / "run"),
        ("render", "--ct", "sample", "--out", scan),
        ("render", "--ct", "sample", "--out", next(scan.iterdir())),
        ("render", "--ct", scan, "--ct", folder / f"{WORD}_nowhere", "--out", tmp_path / "o"),
        ("render", "--ct", scan, "--labels", scan, "--out", tmp_path / "o"),
        ("render", "--ct", scan, "--label", scan, "--label", scan, "--out", tmp_path / "o"),
    ]
    for words in wrong:
        assert WORD not in refusal(*words), words


@pytest.mark.parametrize(
    "text",
    [
        f"ct: {{{WORD}: 1}}",
        f"ct: [[{WORD}]]",
        f"ct: [{{ct: {WORD}, alias: {WORD} JANE}}]",
        f"ct: [{{ct: {WORD}, region: {WORD}}}]",
        f"ct: [{{ct: [{WORD}]}}]",
        f"ct: {WORD * 100}",
        f"ct: phantom:{WORD}",
        f"ct: sample\nlabel: [{WORD}, {WORD}]",
        f"ct: sample\nlabel: {{{WORD}: 20}}",
        f"ct: sample\nlabel: {WORD}:999",
        f"ct: sample\nlabels: {WORD}\nlabel_tissue: {{1: deep_red}}",
        f"ct: sample\nlabels: [[{WORD}]]\nlabel_tissue: {{1: deep_red}}",
    ],
)
def test_of_configurations(text, tmp_path, refusal):
    (tmp_path / "config.yaml").write_text(text + "\n")
    assert WORD not in refusal("render", "--config", tmp_path / "config.yaml", "--out", tmp_path / "o")
