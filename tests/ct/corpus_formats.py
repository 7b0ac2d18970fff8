"""MetaImage and NRRD, NIfTI in folders and zips, and formats that are named and not read."""

from __future__ import annotations

import bz2
import gzip
import zipfile
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np

from tests.ct import corpus_files, made
from tests.ct.corpus import case
from tests.ct.corpus_dicom import setting
from tests.ct.corpus_nifti import SHAPE, STRAIGHT, TURNED, affine_of, field, image, save

OBLIQUE = affine_of(np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0])
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
PACK = {"zlib": zlib.compress, "gzip": gzip.compress, "bzip2": bz2.compress, "raw": lambda data: data}


def numbers(values: np.ndarray) -> str:
    return " ".join(f"{v:.12g}" for v in np.ravel(values))


def voxels(affine: np.ndarray, dtype: str = "<i2") -> bytes:
    """Of the field of the tests, the first index fastest."""
    return field(affine).astype(dtype).tobytes(order="F")


# --- MetaImage
def meta(
    folder: Path, affine=STRAIGHT, dtype="<i2", data=None, name="a.mha", packed=False, sized=True, **changes
) -> Path:
    """changes: fields to set, or (None) to leave out. With an ElementDataFile that is no LOCAL, voxels go there."""
    lps = LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    kinds = {"i2": "MET_SHORT", "u2": "MET_USHORT", "f4": "MET_FLOAT", "f8": "MET_DOUBLE", "i4": "MET_INT"}
    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": str(dtype.startswith(">")),
        "CompressedData": str(packed),
        "CompressedDataSize": None,
        "TransformMatrix": numbers((lps[:3, :3] / spacing).T),
        "Offset": numbers(lps[:3, 3]),
        "CenterOfRotation": "0 0 0",
        "Comment": "CANARY^PATIENT",
        "ElementSpacing": numbers(spacing),
        "DimSize": numbers(SHAPE),
        "ElementType": kinds[dtype[1:]],
        "ElementDataFile": "LOCAL",
    } | changes
    file = fields["ElementDataFile"] = fields.pop("ElementDataFile")  # the last, by which the header ends
    raw = voxels(affine, dtype) if data is None else data
    raw = zlib.compress(raw) if packed else raw
    if packed and sized:
        fields["CompressedDataSize"] = str(len(raw))
    text = "".join(f"{k} = {v}\n" for k, v in fields.items() if v is not None)
    (folder / name).write_bytes(text.encode() + (raw if file == "LOCAL" else b""))
    if file not in ("LOCAL", None) and "/" not in file and "\\" not in file and "%" not in file and file != "LIST":
        (folder / file).write_bytes(raw)
    return folder / name


for name, affine in (("straight", STRAIGHT), ("turned", TURNED), ("oblique", OBLIQUE)):
    case(f"MetaImage, {name}")(lambda f, a=affine: meta(f, a))
for dtype in (">i2", "<f4", ">f8", "<i4"):
    case(f"MetaImage, {dtype}")(lambda f, d=dtype: meta(f, TURNED, d))
case("MetaImage, packed")(lambda f: meta(f, packed=True))
case("MetaImage, packed, its packed size not said")(lambda f: meta(f, packed=True, sized=False))
case("MetaImage, .mhd and .raw")(lambda f: meta(f, TURNED, name="a.mhd", ElementDataFile="CANARY.raw"))
case("MetaImage, .mhd and packed")(lambda f: meta(f, name="a.mhd", packed=True, ElementDataFile="a.zraw"))
case("MetaImage, names of old")(lambda f: meta(f, Offset=None, Position=numbers((LPS @ STRAIGHT)[:3, 3])))
case("MetaImage, no Offset", field=False)(lambda f: meta(f, Offset=None))
case("MetaImage, AnatomicalOrientation contradicts")(lambda f: meta(f, AnatomicalOrientation="LPS"))
case("MetaImage, AnatomicalOrientation agrees")(
    lambda f: meta(f, affine_of(np.diag([-1, -1, 1])), AnatomicalOrientation="RAI")
)
case("MetaImage, bytes behind")(lambda f: meta(f, data=voxels(STRAIGHT) + b"\1" * 9))
case("MetaImage, HeaderSize")(
    lambda f: meta(f, name="a.mhd", data=bytes(20) + voxels(STRAIGHT), ElementDataFile="a.raw", HeaderSize="20")
)
case("MetaImage, voxels at the end")(
    lambda f: meta(f, name="a.mhd", data=b"\1" * 33 + voxels(STRAIGHT), ElementDataFile="a.raw", HeaderSize="-1")
)
for tag in ("TransformMatrix", "ElementSpacing", "DimSize", "ElementType"):
    case(f"MetaImage without {tag}", "MISSING_TAG")(lambda f, tag=tag: meta(f, **{tag: None}))
for name, changes, code in (
    ("of an MR", {"Modality": "MET_MOD_MR"}, "NO_CT"),
    ("of a PET", {"Modality": "MET_MOD_PET"}, "NO_CT"),
    ("as text", {"BinaryData": "False"}, "UNREADABLE"),
    ("of a tube", {"ObjectType": "Tube"}, "UNREADABLE"),
    ("of two channels", {"ElementNumberOfChannels": "2"}, "NOT_3D"),
    ("of two dimensions", {"DimSize": "20 18"}, "NOT_3D"),
    ("rescaled", {"ElementToIntensityFunctionSlope": "2"}, "NO_RESCALE"),
    ("in cm", {"DistanceUnits": "cm"}, "BAD_SPACING"),
    ("of negative pitch", {"ElementSpacing": "2 -1.5 2.5"}, "BAD_SPACING"),
    ("of pitch 0", {"ElementSpacing": "2 0 2.5"}, "BAD_SPACING"),
    ("of pitch infinite", {"ElementSpacing": "2 inf 2.5"}, "MISSING_TAG"),
    ("of directions not unit", {"TransformMatrix": "1 0 0 0 2 0 0 0 1"}, "BAD_ORIENTATION"),
    ("singular", {"TransformMatrix": "1 0 0 1 0 0 0 0 1"}, "BAD_AFFINE"),
    ("sheared", {"TransformMatrix": "1 0 0 0.1961161351 0.9805806757 0 0 0 1"}, "SHEARED"),
    ("beyond all reason", {"DimSize": "30000 30000 30000"}, "TOO_LARGE"),
    ("of negative size", {"DimSize": "-20 18 16"}, "UNREADABLE"),
    ("in slices", {"ElementDataFile": "slice%03d.raw 1 16 1"}, "UNREADABLE"),
    ("in a list", {"ElementDataFile": "LIST"}, "UNREADABLE"),
    ("of another folder", {"ElementDataFile": "../../etc/passwd"}, "UNREADABLE"),
    ("of an absolute path", {"ElementDataFile": "/etc/passwd"}, "UNREADABLE"),
    ("of a path of Windows", {"ElementDataFile": "..\\..\\etc\\passwd"}, "UNREADABLE"),
    ("of a drive", {"ElementDataFile": "C:\\a.raw"}, "UNREADABLE"),
    ("of a file that is not there", {"ElementDataFile": "sub/CANARY.raw"}, "TRUNCATED"),
):
    case(f"MetaImage {name}", code)(lambda f, changes=changes: meta(f, **changes))
case("MetaImage cut short", "TRUNCATED")(lambda f: meta(f, data=voxels(STRAIGHT)[:-2]))
case("MetaImage, packed, cut short", "TRUNCATED")(lambda f: meta(f, packed=True, data=voxels(STRAIGHT)[:-2]))
case("MetaImage, offset forgotten", "NOT_HU")(
    lambda f: meta(f, data=(field(STRAIGHT) + 1024).astype("<i2").tobytes("F"))
)
case("MetaImage, NaN", "NON_FINITE")(lambda f: meta(f, dtype="<f4", data=np.full(SHAPE, np.nan, "<f4").tobytes()))
case("text named .mha", "UNREADABLE")(lambda f: (f / "a.mha").write_bytes(b"hello " * 99) and f / "a.mha")
case("a line without end named .mha", "UNREADABLE")(lambda f: (f / "a.mha").write_bytes(b"x" * 2**22) and f / "a.mha")


@case("MetaImage, packed and damaged", "TRUNCATED")
def _(folder):
    path = meta(folder, packed=True)
    data = bytearray(path.read_bytes())
    data[-900:-880] = bytes(20)
    path.write_bytes(bytes(data))
    return path


@case("MetaImage whose voxels are a link to elsewhere", "UNREADABLE")
def _(folder):
    (folder / "in").mkdir()
    (folder / "secret.raw").write_bytes(voxels(STRAIGHT))
    path = meta(folder / "in", name="a.mhd", ElementDataFile="a.raw")
    (folder / "in" / "a.raw").unlink()
    (folder / "in" / "a.raw").symlink_to(folder / "secret.raw")
    return path


def flood() -> tuple[bytes, str]:
    """Zeros, gzipped, and the size that they have."""
    packer = zlib.compressobj(1, wbits=31)
    data = b"".join(packer.compress(bytes(2**24)) for _ in range(corpus_files.FLOOD // 2**24)) + packer.flush()
    return data, f"1000 1000 {corpus_files.FLOOD // 2_000_000}"


@case("MetaImage bomb", "TOO_LARGE")
def _(folder):
    data, size = flood()
    return meta(folder, data=data, CompressedData="True", DimSize=size)


@case("MetaImage bomb beside its header", "TOO_LARGE")
def _(folder):
    data, size = flood()
    return meta(folder, name="a.mhd", data=data, CompressedData="True", DimSize=size, ElementDataFile="a.zraw")


# --- NRRD
def nrrd(folder: Path, affine=STRAIGHT, dtype="<i2", packing="raw", data=None, name="a.nrrd", **changes) -> Path:
    """changes: fields to set, or (None) to leave out, blanks in their names as underscores."""
    space = changes.get("space", "left-posterior-superior")
    signs = {"RAS": (1, 1, 1), "right-anterior-superior": (1, 1, 1), "LAS": (-1, 1, 1)}.get(space, (-1, -1, 1))
    own = np.diag([*signs, 1.0]) @ affine
    kinds = {"i2": "short", "u2": "unsigned short", "f4": "float", "f8": "double", "i4": "int32"}
    fields = {
        "type": kinds[dtype[1:]],
        "dimension": "3",
        "space": space,
        "sizes": numbers(SHAPE),
        "space directions": " ".join(f"({','.join(f'{v:.12g}' for v in own[:3, n])})" for n in range(3)),
        "kinds": "domain domain domain",
        "endian": "big" if dtype.startswith(">") else "little",
        "encoding": packing,
        "space origin": f"({','.join(f'{v:.12g}' for v in own[:3, 3])})",
        "content": "CANARY^PATIENT",
    } | {k.replace("_", " "): v for k, v in changes.items()}
    raw = PACK[packing](voxels(affine, dtype) if data is None else data)
    file = fields.get("data file")
    text = "NRRD0005\n# made for a test\n" + "".join(f"{k}: {v}\n" for k, v in fields.items() if v is not None)
    text = text.replace(": =", ":=") + "CANARY:=CANARY^PATIENT\n\n"
    (folder / name).write_bytes(text.encode() + (b"" if file else raw))
    if file and "/" not in file and "%" not in file and file != "LIST":
        (folder / file).write_bytes(raw)
    return folder / name


for name, affine in (("straight", STRAIGHT), ("turned", TURNED), ("oblique", OBLIQUE)):
    for space in ("left-posterior-superior", "RAS", "LAS"):
        case(f"NRRD, {name}, {space}")(lambda f, a=affine, s=space: nrrd(f, a, space=s))
for dtype in (">i2", "<f4", ">f8", "<i4"):
    case(f"NRRD, {dtype}")(lambda f, d=dtype: nrrd(f, TURNED, d))
for packing in ("gzip", "bzip2"):
    case(f"NRRD, {packing}")(lambda f, p=packing: nrrd(f, TURNED, packing=p))
    case(f"NRRD, {packing}, cut short", "TRUNCATED")(
        lambda f, p=packing: nrrd(f, packing=p, data=voxels(STRAIGHT)[:-2])
    )
case("NRRD, .nhdr and .raw")(lambda f: nrrd(f, TURNED, name="a.nhdr", data_file="CANARY.raw"))
case("NRRD, .nhdr and .raw.gz")(lambda f: nrrd(f, name="a.nhdr", packing="gzip", data_file="a.raw.gz"))
case("NRRD, byte skip")(
    lambda f: nrrd(f, name="a.nhdr", data=bytes(7) + voxels(STRAIGHT), data_file="a.raw", byte_skip="7")
)
case("NRRD, voxels at the end")(
    lambda f: nrrd(f, name="a.nhdr", data=bytes(7) + voxels(STRAIGHT), data_file="a.raw", byte_skip="-1")
)
case("NRRD, line skip")(
    lambda f: nrrd(f, name="a.nhdr", data=b"a\nb\n" + voxels(STRAIGHT), data_file="a.raw", line_skip="2")
)
case("NRRD, no origin", field=False)(lambda f: nrrd(f, space_origin=None))
case("NRRD, fields in capitals")(lambda f: nrrd(f, TURNED, encoding=None, Encoding="raw"))
case("NRRD, units said")(lambda f: nrrd(f, space_units='"mm" "mm" "mm"'))
for tag, code in {
    "space": "MISSING_TAG",
    "space_directions": "MISSING_TAG",
    "sizes": "MISSING_TAG",
    "type": "MISSING_TAG",
    "encoding": "MISSING_TAG",
    "endian": "MISSING_TAG",
}.items():
    case(f"NRRD without {tag}", code)(lambda f, tag=tag: nrrd(f, **{tag: None}))
for name, changes, code in (
    ("of no patient's space", {"space": "3D-right-handed"}, "MISSING_TAG"),
    ("of a scanner's space", {"space": "scanner-xyz"}, "MISSING_TAG"),
    ("of directions none", {"space directions": "none none none"}, "MISSING_TAG"),
    ("of directions not finite", {"space directions": "(nan,0,0) (0,2,0) (0,0,2)"}, "MISSING_TAG"),
    ("singular", {"space directions": "(2,0,0) (2,0,0) (0,0,2)"}, "BAD_AFFINE"),
    ("sheared", {"space directions": "(2,0,0) (0.4,2,0) (0,0,2)"}, "SHEARED"),
    ("of a kilometre", {"space directions": "(1e6,0,0) (0,1e6,0) (0,0,1e6)"}, "BAD_SPACING"),
    ("in micrometres", {"space units": '"um" "um" "um"'}, "BAD_SPACING"),
    ("of four dimensions", {"dimension": "4", "sizes": "2 20 18 8"}, "NOT_3D"),
    ("that contradicts itself", {"dimension": "4"}, "UNREADABLE"),
    ("of blocks", {"type": "block"}, "NOT_HU"),
    ("as text", {"encoding": "ascii"}, "UNREADABLE"),
    ("quantised", {"old min": "-1000", "old max": "3000"}, "NO_RESCALE"),
    ("of an MR", {"modality": "MR"}, "NO_CT"),
    ("of a PET by a key", {"DICOM.Modality": "=PT"}, "NO_CT"),
    ("beyond all reason", {"sizes": "30000 30000 30000"}, "TOO_LARGE"),
    ("of negative size", {"sizes": "-20 18 16"}, "UNREADABLE"),
    ("in slices", {"data file": "slice%03d.raw 1 16 1"}, "UNREADABLE"),
    ("in a list", {"data file": "LIST"}, "UNREADABLE"),
    ("of another folder", {"data file": "../../etc/passwd"}, "UNREADABLE"),
    ("of an absolute path", {"data file": "/etc/passwd"}, "UNREADABLE"),
    ("of a file that is not there", {"data file": "sub/CANARY.raw"}, "TRUNCATED"),
    ("of a skip beyond all reason", {"byte skip": "99999999999"}, "UNREADABLE"),
    ("of a number that is none", {"sizes": "CANARY CANARY CANARY"}, "UNREADABLE"),
):
    case(f"NRRD {name}", code)(lambda f, changes=changes: nrrd(f, **changes))
case("NRRD cut short", "TRUNCATED")(lambda f: nrrd(f, data=voxels(STRAIGHT)[:-2]))
case("text named .nrrd", "UNREADABLE")(lambda f: (f / "a.nrrd").write_bytes(b"hello " * 99) and f / "a.nrrd")


@case("NRRD bomb", "TOO_LARGE")
def _(folder):
    data, size = flood()
    return nrrd(folder, data=data, encoding="gzip", sizes=size)


@case("NRRD that is sparse", "TOO_LARGE")
def _(folder):
    path = nrrd(folder, name="a.nhdr", data_file="a.raw", sizes="1000 1000 900")
    with open(folder / "a.raw", "r+b") as file:
        file.truncate(2 * 900 * 10**6)
    return path


# --- formats in folders and zips
case("NIfTI in a folder")(lambda f: save(f, image(TURNED), "CANARY.nii.gz") and f)
case("NIfTI in a folder of folders")(
    lambda f: (f / "deep" / "er").mkdir(parents=True) or (save(f / "deep" / "er", image()) and f)
)
case("NRRD in a folder")(lambda f: nrrd(f, TURNED) and f)
case(".mhd in a folder")(lambda f: meta(f, TURNED, name="a.mhd", ElementDataFile="a.raw") and f)
case("two NIfTI in a folder", "SERIES_AMBIGUOUS")(lambda f: [save(f, image(), n) for n in ("a.nii", "b.nii")] and f)


@case("NIfTI pair in a folder")
def _(folder):
    nib.save(nib.Nifti1Pair(field(TURNED).astype(np.int16), TURNED), folder / "a.img")
    return folder


@case("a DICOM series beside a NIfTI")
def _(folder):
    made.series(folder)
    save(folder, image(), "mask.nii.gz")


def in_zip(folder: Path, *files: Path, **more: bytes) -> Path:
    with zipfile.ZipFile(folder / "CANARY.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, f"deep/{file.name}")
        for name, data in more.items():
            archive.writestr(name, data)
    return folder / "CANARY.zip"


for name in ("a.nii", "a.nii.gz"):
    case(f"{name} in a zip")(lambda f, n=name: in_zip(f, save(f, image(TURNED), n), **{"read me.txt": b"CANARY"}))
case("NIfTI in a zip of a Mac")(
    lambda f: in_zip(f, save(f, image(TURNED), "a.nii.gz"), **{"__MACOSX/._a.nii.gz": b"\0\5\x16\7" + bytes(200)})
)
case("NIfTI in a folder of a Mac")(
    lambda f: [save(f, image(TURNED)), (f / "._a.nii").write_bytes(b"\0\5\x16\7" + bytes(200))] and f
)
case("MetaImage in a zip")(lambda f: in_zip(f, meta(f, TURNED)))
case("NRRD in a zip")(lambda f: in_zip(f, nrrd(f, TURNED, packing="gzip")))
case(".mhd in a zip", "UNREADABLE")(lambda f: in_zip(f, meta(f, name="a.mhd", ElementDataFile="a.raw"), f / "a.raw"))
case("two NIfTI in a zip", "SERIES_AMBIGUOUS")(
    lambda f: in_zip(f, save(f, image(), "a.nii"), save(f, image(), "b.nii.gz"))
)
case("a zip in a zip", "NO_CT")(lambda f: in_zip(f, in_zip(f, save(f, image())).rename(f / "inner.zip")))
case("a NIfTI without its ending")(lambda f: save(f, image(TURNED)).rename(f / "scan"))
case("a packed NIfTI without its ending")(lambda f: save(f, image(TURNED), "a.nii.gz").rename(f / "scan.download"))
case("a NRRD without its ending")(lambda f: nrrd(f, TURNED).rename(f / "scan"))
case("a DICOM file named .img", "TOO_FEW_SLICES")(
    lambda f: made.series(f, 1, change=setting(InstanceNumber=1)) and next(f.iterdir()).rename(f / "a.img")
)


# --- formats that are named
def foreign(name: str, data: bytes = b"\0 CANARY" * 99):
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return make


NAMED = {
    "a.vti": "VTK",
    "a.mgz": "FreeSurfer",
    "a.npy": "NumPy",
    "a.npz": "NumPy",
    "a.tif": "TIFF",
    "a.nii.zst": "unpack it",
    "a.tar": "unpack it",
    "a.tar.gz": "unpack it",
    "a.7z": "unpack it",
    "a.dcm.gz": "unpack it",
    "a.mat": "MATLAB",
    "a.h5": "HDF5",
    "a.mnc": "MINC",
    "a.par": "PAR/REC",
    "a.BRIK": "AFNI",
    "a.gipl": "image format",
    "a.png": "picture",
    "a.raw": "bare bytes",
    "a.stl": "surface",
    "a.json": "document",
    "a.mp4": "film",
    "a.pt": "torch",
}
for name in NAMED:
    data = gzip.compress(b"CANARY" * 99) if name.endswith("gz") and name != "a.mgz" else b"\0 CANARY" * 99
    case(f"named {name}", "UNREADABLE")(foreign(name, data))
for name, data in {
    "NumPy": b"\x93NUMPY" + bytes(600),
    "TIFF": b"II*\0" + bytes(600),
    "HDF5": b"\x89HDF\r\n" + bytes(600),
    "a tar archive": bytes(257) + b"ustar" + bytes(600),
    "a packed file": b"\x28\xb5\x2f\xfd" + bytes(600),
}.items():
    case(f"{name} without its ending", "UNREADABLE")(foreign("scan", data))
case("a folder of arrays", "NO_CT")(lambda f: [foreign(f"{n}.npy")(f) for n in range(3)] and f)

SAID = {
    **{f"named {name}": words for name, words in NAMED.items()},
    "named a.nii.zst": ".nii.zst (a packed NIfTI) is not read: unpack it",
    "named a.vti": "save it as NIfTI (.nii.gz)",
    "NumPy without its ending": ".npy (NumPy) is not read",
    "a folder of arrays": "3 x .npy (NumPy)",
    "a zip in a zip": "of them 1 x .zip (a zip in it): unpack it",
    "MetaImage without TransformMatrix": "lacks TransformMatrix",
    "two NIfTI in a folder": "(`endorender inspect` looks into each): 1) .nii; 2) .nii",
    "MetaImage of an MR": "this is MR: only CT has Hounsfield units",
    "MetaImage of another folder": "outside of its folder",
    "NRRD of no patient's space": "does not say how it lies in the patient",
    "MetaImage, no Offset": "place in the patient is unknown",
    "MetaImage, AnatomicalOrientation contradicts": "AnatomicalOrientation contradicts TransformMatrix",
    "MetaImage, bytes behind": "bytes follow the voxels",
    "Analyze pair": "does not say where left and right are",
}
