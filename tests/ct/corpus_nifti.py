"""NIfTI files, good and bad."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np

from tests.ct import corpus_files
from tests.ct.corpus import case
from tests.ct.made import truth

SHAPE = (20, 18, 16)


def affine_of(axes: np.ndarray, pitch: tuple[float, float, float] = (2.0, 1.5, 2.5)) -> np.ndarray:
    """Centred on the origin."""
    affine = np.eye(4)
    affine[:3, :3] = axes * np.array(pitch)
    affine[:3, 3] = -affine[:3, :3] @ (np.array(SHAPE) / 2)
    return affine


STRAIGHT = affine_of(np.eye(3))
C, S = np.cos(0.3), np.sin(0.3)
TURNED = affine_of(np.array([[C, -S, 0], [S, C, 0], [0, 0, 1]]))


def field(affine: np.ndarray) -> np.ndarray:
    """(I, J, K) HU."""
    at = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    return np.rint(truth(at @ affine[:3, :3].T + affine[:3, 3]))


def image(affine=STRAIGHT, hu=None, dtype=np.int16, kind=nib.Nifti1Image, unit="mm"):
    made = kind((field(affine) if hu is None else hu).astype(dtype), affine)
    made.header.set_xyzt_units(unit)
    return made


def save(folder: Path, made, name="a.nii") -> Path:
    nib.save(made, folder / name)
    return folder / name


def patched(folder: Path, made, where: slice, data: bytes, name="a.nii") -> Path:
    """The file with some bytes of its header (or more) replaced."""
    raw = bytearray(made.to_bytes())
    raw[where] = data
    path = folder / name
    path.write_bytes(gzip.compress(bytes(raw)) if name.endswith("gz") else bytes(raw))
    return path


case("NIfTI")(lambda f: save(f, image()))
case("NIfTI, packed")(lambda f: save(f, image(TURNED), "a.nii.gz"))
case("NIfTI, capitals")(lambda f: save(f, image(), "A.nii").rename(f / "A.NII"))
case("NIfTI-2")(lambda f: save(f, image(TURNED, kind=nib.Nifti2Image)))
case("NIfTI, float")(lambda f: save(f, image(dtype=np.float32)))
case("NIfTI, double, packed")(lambda f: save(f, image(dtype=np.float64), "a.nii.gz"))
case("NIfTI, mirrored axes")(lambda f: save(f, image(affine_of(np.diag([-1, 1, -1])))))
case("NIfTI, axes swapped")(lambda f: save(f, image(affine_of(np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]])))))
case("NIfTI, fourth dimension of one")(lambda f: save(f, image(hu=field(STRAIGHT)[..., None])))
case("NIfTI, packed but not named so")(lambda f: save(f, image(), "a.nii.gz").rename(f / "a.nii"))
case("NIfTI, named as packed")(lambda f: save(f, image(), "a.nii").rename(f / "a.nii.gz"))


@case("NIfTI, big endian")
def _(folder):
    big = nib.Nifti1Image(field(STRAIGHT).astype(">i2"), STRAIGHT, nib.Nifti1Header(endianness=">"))
    big.header.set_xyzt_units("mm")
    return save(folder, big)


@case("NIfTI, slope and intercept")
def _(folder):
    made = image(hu=(field(STRAIGHT) + 1024) * 2)
    return patched(folder, made, slice(112, 120), np.array([0.5, -1024], "<f4").tobytes())


@case("NIfTI, slope 0 means none")
def _(folder):
    return patched(folder, image(), slice(112, 120), np.array([0, 77], "<f4").tobytes())


for name in ("a.nii", "a.nii.gz"):

    @case(f"NIfTI, bytes put in, {name}", field=False)  # a warning tells it
    def _(folder, name=name):
        return patched(folder, image(), slice(3000, 3000), b"\1" * 10, name)


for unit, factor in (("meter", 1e-3), ("micron", 1e3), ("unknown", 1)):

    @case(f"NIfTI, lengths in {unit}")
    def _(folder, unit=unit, factor=factor):
        scaled = STRAIGHT.copy()
        scaled[:3] *= factor
        made = nib.Nifti1Image(field(STRAIGHT).astype(np.int16), scaled)
        made.header.set_xyzt_units(unit)
        return save(folder, made)


@case("NIfTI, qform alone")
def _(folder):
    made = image(TURNED)
    made.set_sform(None, code=0)
    made.set_qform(TURNED, code=1)
    return save(folder, made)


@case("NIfTI, no form", field=False)
def _(folder):
    made = image()
    made.set_sform(None, code=0)
    made.set_qform(None, code=0)
    return save(folder, made)


@case("NIfTI, sform moved by a registration")
def _(folder):
    made = image(TURNED)
    made.set_qform(STRAIGHT, code=1)
    return save(folder, made)


def quaternion(folder, change, sform=True):
    """A turn about z by 0.3 rad and then by half a turn about x, whose quaternion's w is 0, as the file holds it."""
    axes = np.array([[C, S, 0], [S, -C, 0], [0, 0, -1]])
    made = image(affine_of(axes))
    made.set_qform(affine_of(axes), code=1)
    if not sform:
        made.set_sform(None, code=0)
    bcd = np.array([float(made.header[f"quatern_{n}"]) for n in "bcd"])
    return patched(folder, made, slice(256, 268), change(bcd).astype("<f4").tobytes())


for excess in (1e-7, 1e-6, 1e-5, 1e-4):
    for both in (True, False):
        name = f"NIfTI, quaternion longer than 1 by {excess:g}{' beside an sform' if both else ''}"
        case(name)(lambda f, e=excess, both=both: quaternion(f, lambda bcd: bcd * (1 + e), both))
case("NIfTI, quaternion not finite", "BAD_AFFINE")(lambda f: quaternion(f, lambda bcd: bcd * np.nan))
case("NIfTI, place of the qform infinite", "BAD_AFFINE")(
    lambda f: patched(f, both_forms(), slice(268, 272), np.array([np.inf], "<f4").tobytes())
)
# A quaternion that no code calls upon is not looked at.
case("NIfTI, quaternion unused")(lambda f: patched(f, image(), slice(256, 268), np.array([9] * 3, "<f4").tobytes()))


def both_forms():
    made = image()
    made.set_qform(STRAIGHT, code=1)
    return made


for kind, where, layout, end in ((nib.Nifti1Image, 108, "<f4", 352), (nib.Nifti2Image, 168, "<i8", 544)):
    for offset in (0, 16, end - 4):

        @case(f"{kind.__name__}, voxels at byte {offset}", "UNREADABLE")
        def _(folder, kind=kind, where=where, layout=layout, offset=offset):
            data = np.array([offset], layout).tobytes()
            return patched(folder, image(kind=kind), slice(where, where + len(data)), data)


case("NIfTI, voxels at half a byte", "UNREADABLE")(
    lambda f: patched(f, image(), slice(108, 112), np.array([352.5], "<f4").tobytes())
)


@case("NIfTI, voxels a little later", field=False)  # a warning tells it
def _(folder):
    path = patched(folder, image(), slice(108, 112), np.array([368], "<f4").tobytes())
    path.write_bytes(path.read_bytes()[:352] + b"\1" * 16 + path.read_bytes()[352:])
    return path


for slope, inter in ((np.inf, 0), (-np.inf, -1024), (1, np.inf), (1, np.nan), (2, -np.inf)):
    case(f"NIfTI, slope {slope} and intercept {inter}", "NO_RESCALE")(
        lambda f, v=(slope, inter): patched(f, image(), slice(112, 120), np.array(v, "<f4").tobytes())
    )
case("NIfTI, slope NaN means none")(
    lambda f: patched(f, image(), slice(112, 120), np.array([np.nan, np.nan], "<f4").tobytes())
)
case("NIfTI, bitpix of bytes", "PIXELS_MISMATCH")(
    lambda f: patched(f, image(), slice(72, 74), np.array([8], "<i2").tobytes())
)
case("NIfTI, bitpix not set")(lambda f: patched(f, image(), slice(72, 74), bytes(2)))
for name, where in (("sform", 254), ("qform", 252)):
    case(f"NIfTI, {name}_code of 9", "BAD_AFFINE")(
        lambda f, where=where: patched(f, image(), slice(where, where + 2), np.array([9], "<i2").tobytes())
    )
case("NIfTI, header of a pair named .nii", "UNREADABLE")(lambda f: patched(f, image(), slice(344, 348), b"ni1\0"))


@case("NIfTI, extension and description")
def _(folder):
    made = image()
    made.header["descrip"] = b"CANARY^PATIENT"
    made.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"CANARY^PATIENT" * 50))
    return save(folder, made)


@case("NIfTI, forms of two lengths", "BAD_AFFINE")
def _(folder):
    made = image()
    made.set_qform(STRAIGHT, code=1)
    made.set_sform(STRAIGHT @ np.diag([1.2, 1, 1, 1]), code=2)
    return save(folder, made)


@case("NIfTI, forms that mirror each other", "BAD_AFFINE")
def _(folder):
    made = image()
    made.set_qform(STRAIGHT, code=1)
    made.set_sform(np.diag([-1, 1, 1, 1]) @ STRAIGHT, code=1)
    return save(folder, made)


@case("NIfTI, sform and pixdim disagree", "BAD_AFFINE")
def _(folder):
    made = image()
    made.set_qform(None, code=0)
    return patched(folder, made, slice(80, 92), np.array([0.7, 0.7, 1], "<f4").tobytes())


@case("NIfTI, quaternion longer than 1", "BAD_AFFINE")
def _(folder):
    made = image(TURNED)
    made.set_sform(None, code=0)
    made.set_qform(TURNED, code=1)
    return patched(folder, made, slice(256, 268), np.array([1, 1, 1], "<f4").tobytes())


case("NIfTI, singular", "BAD_AFFINE")(
    lambda f: patched(f, image(), slice(312, 328), np.array([0, 1.5, 0, 0], "<f4").tobytes())
)
case("NIfTI, affine not finite", "BAD_AFFINE")(
    lambda f: patched(f, image(), slice(280, 284), np.array([np.nan], "<f4").tobytes())
)
case("NIfTI, sheared", "SHEARED")(
    lambda f: save(f, image(affine_of(np.array([[1, 0, 0], [0, 1, 0.2], [0, 0, 1]]), (2.0, 2.0, 2.0))))
)
case("NIfTI, pitch of a kilometre", "BAD_SPACING")(
    lambda f: save(f, nib.Nifti1Image(field(STRAIGHT).astype(np.int16), np.diag([1e6, 1e6, 1e6, 1])))
)
case("NIfTI, four dimensions", "NOT_3D")(lambda f: save(f, image(hu=np.stack([field(STRAIGHT)] * 3, axis=-1))))
case("NIfTI, two dimensions", "NOT_3D")(lambda f: save(f, nib.Nifti1Image(np.zeros((9, 9), np.int16), STRAIGHT)))
case("NIfTI, one plane", "TOO_FEW_SLICES")(lambda f: save(f, image(hu=field(STRAIGHT)[:, :, :1])))
for name, value in (("NaN", np.nan), ("infinite", np.inf)):

    @case(f"NIfTI, one voxel {name}", "NON_FINITE")
    def _(folder, value=value):
        hu = field(STRAIGHT)
        hu[3, 4, 5] = value
        return save(folder, image(hu=hu, dtype=np.float32))


for name, values in {
    "0 to 1": field(STRAIGHT) / 2000 + 0.5,
    "windowed": np.clip(field(STRAIGHT), -160, 240),
    "offset forgotten": field(STRAIGHT) + 1024,
    "as an MR image": field(STRAIGHT) * 9 + 5000,
    "thousandths": field(STRAIGHT) / 1000,
}.items():
    case(f"NIfTI, {name}", "NOT_HU")(lambda f, values=values: save(f, image(hu=values, dtype=np.float32)))
case("NIfTI, complex", "NOT_HU")(lambda f: save(f, image(dtype=np.complex64)))


@case("NIfTI, colour", "NOT_HU")
def _(folder):
    colour = np.zeros(SHAPE, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    return save(folder, nib.Nifti1Image(colour, STRAIGHT))


for keep in (0, 100, 349, 600, 11000):

    @case(f"NIfTI cut at {keep} bytes", "TRUNCATED")
    def _(folder, keep=keep):
        path = save(folder, image())
        path.write_bytes(path.read_bytes()[:keep])
        return path


for keep in (30, 150, 0.9):

    @case(f"packed NIfTI cut at {keep}", "TRUNCATED")
    def _(folder, keep=keep):
        path = save(folder, image(), "a.nii.gz")
        data = path.read_bytes()
        path.write_bytes(data[: int(keep * len(data)) if keep < 1 else keep])
        return path


@case("packed NIfTI damaged", "TRUNCATED")
def _(folder):
    path = save(folder, image(hu=field(STRAIGHT) + np.random.default_rng(0).normal(0, 40, SHAPE)), "a.nii.gz")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 60] = bytes(60)
    path.write_bytes(bytes(data))
    return path


case("text named .nii", "UNREADABLE")(lambda f: (f / "a.nii").write_bytes(b"hello " * 200) and f / "a.nii")
for packed in ("", ".gz"):

    @case(f"NIfTI pair{packed}")
    def _(folder, packed=packed):
        nib.save(nib.Nifti1Pair(field(TURNED).astype(np.int16), TURNED), folder / "a.img")
        for name in ("a.hdr", "a.img"):
            data = (folder / name).read_bytes()
            (folder / name).unlink()
            (folder / (name + packed)).write_bytes(gzip.compress(data) if packed else data)
        return folder / f"a.hdr{packed}"


case("text named .hdr", "UNREADABLE")(lambda f: (f / "a.hdr").write_bytes(b"ENVI " * 200) and f / "a.hdr")
case("Analyze pair", "UNREADABLE")(
    lambda f: nib.save(nib.AnalyzeImage(field(STRAIGHT).astype(np.int16), STRAIGHT), f / "a.img") or f / "a.hdr"
)


@case("NIfTI pair by its .img")
def _(folder):
    nib.save(nib.Nifti1Pair(field(TURNED).astype(np.int16), TURNED), folder / "a.img")
    return folder / "a.img"


@case("NIfTI pair without its voxels", "TRUNCATED")
def _(folder):
    nib.save(nib.Nifti1Pair(field(TURNED).astype(np.int16), TURNED), folder / "a.img")
    (folder / "a.img").unlink()
    return folder / "a.hdr"


@case("NIfTI pair, voxels cut short", "TRUNCATED")
def _(folder):
    nib.save(nib.Nifti1Pair(field(TURNED).astype(np.int16), TURNED), folder / "a.img")
    (folder / "a.img").write_bytes((folder / "a.img").read_bytes()[:9000])
    return folder / "a.hdr"


case("Analyze header named .nii", "UNREADABLE")(lambda f: patched(f, image(), slice(344, 348), b"\0\0\0\0"))
case("NIfTI, negative size", "UNREADABLE")(
    lambda f: patched(f, image(), slice(42, 48), np.array([-20, 18, 16], "<i2").tobytes())
)
case("NIfTI, unknown type", "UNREADABLE")(
    lambda f: patched(f, image(), slice(70, 72), np.array([9999], "<i2").tobytes())
)
case("NIfTI, voxels far away", "UNREADABLE")(
    lambda f: patched(f, image(), slice(108, 112), np.array([1e30], "<f4").tobytes())
)


@case("gzip bomb", "TOO_LARGE")
def _(folder):
    raw = bytearray(image().to_bytes()[:352])
    raw[42:48] = np.array([1000, 1000, corpus_files.FLOOD // 2_000_000], "<i2").tobytes()
    with gzip.open(folder / "a.nii.gz", "wb", compresslevel=1) as file:
        file.write(bytes(raw))
        for _ in range(corpus_files.FLOOD // 2**24):
            file.write(bytes(2**24))
    return folder / "a.nii.gz"


@case("gzip bomb of an extension", "UNREADABLE")
def _(folder):
    raw = bytearray(image().to_bytes()[:352])
    raw[108:112] = np.array([6e8], "<f4").tobytes()
    raw[348] = 1
    with gzip.open(folder / "a.nii.gz", "wb", compresslevel=1) as file:
        file.write(bytes(raw) + np.array([6e8, 6], "<i4").tobytes())
        for _ in range(corpus_files.FLOOD // 2**24):
            file.write(bytes(2**24))
    return folder / "a.nii.gz"


@case("sparse file", "TOO_LARGE")
def _(folder):
    path = patched(folder, image(), slice(42, 48), np.array([1000, 1000, 900], "<i2").tobytes())
    with open(path, "r+b") as file:
        file.truncate(352 + 1000 * 1000 * 900 * 2)
    return path


case("NIfTI, size beyond all reason", "TOO_LARGE")(
    lambda f: patched(f, image(), slice(42, 48), np.array([30000] * 3, "<i2").tobytes())
)
