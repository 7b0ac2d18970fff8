"""What a file is, by its name or its first bytes: read here, or to be converted, and how."""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from collections.abc import Callable

from endorender.ct.dicom.parsing import is_bare
from endorender.ct.errors import CTError
from endorender.ct.files import Entry
from endorender.ct.formats.nifti_header import PAIR
from endorender.ct.volume import Volume

APPLE = b"\0\5\x16\7"  # macOS puts such a file beside every other, under its name behind "._"
GZIP = b"\x1f\x8b"
HEAD = 540  # bytes that tell a format
NIFTI, META, NRRD = (".nii", ".nii.gz", *PAIR), (".mha", ".mhd"), (".nrrd", ".nhdr")
IMAGES = PAIR[".hdr"]  # the voxels of a pair, which its header stands for
READ = (*NIFTI, *META, *NRRD)

SAVE = "open it in 3D Slicer, see that it lies right in the patient, and save it as NIfTI (.nii.gz)"
UNPACK = "unpack it and give the folder of the DICOM, or the NIfTI file"
PLACELESS = "it does not say where it lies in the patient: go back to the DICOM or NIfTI that it was made of"
NO_SCAN = "it is no scan: give the DICOM or NIfTI that it was made of"
FOREIGN = {
    **dict.fromkeys((".vti", ".pvti", ".vtk"), ("VTK image data", SAVE)),
    **dict.fromkeys((".mgz", ".mgh"), ("FreeSurfer", "mri_convert scan.mgz scan.nii.gz makes NIfTI of it")),
    **dict.fromkeys((".mnc", ".mnc2"), ("MINC", "mnc2nii makes NIfTI of it")),
    **dict.fromkeys((".par", ".rec"), ("Philips PAR/REC", "dcm2niix makes NIfTI of it")),
    **dict.fromkeys((".head", ".brik", ".brik.gz"), ("AFNI", "3dAFNItoNIFTI makes NIfTI of it")),
    **dict.fromkeys((".gipl", ".gipl.gz", ".pic", ".am", ".isq", ".vol", ".mif", ".mih"), ("an image format", SAVE)),
    **dict.fromkeys((".npy", ".npz"), ("NumPy", PLACELESS)),
    **dict.fromkeys((".mat", ".h5", ".hdf5", ".hdf", ".zarr"), ("MATLAB or HDF5", PLACELESS)),
    **dict.fromkeys((".pt", ".pth", ".pkl", ".pickle"), ("Python or torch", PLACELESS)),
    **dict.fromkeys((".tif", ".tiff"), ("TIFF", PLACELESS)),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".exr", ".jp2"), ("a picture", PLACELESS)),
    **dict.fromkeys((".mp4", ".avi", ".mov", ".mkv"), ("a film", NO_SCAN)),
    **dict.fromkeys((".raw", ".bin", ".dat"), ("bare bytes", PLACELESS)),
    **dict.fromkeys((".stl", ".obj", ".ply", ".vtp", ".vtu", ".glb", ".gltf", ".off"), ("a surface", NO_SCAN)),
    **dict.fromkeys((".pdf", ".txt", ".csv", ".json", ".xml", ".html", ".docx", ".xlsx"), ("a document", NO_SCAN)),
    **dict.fromkeys((".nii.zst", ".nii.xz", ".nii.bz2", ".nii.lz4"), ("a packed NIfTI", UNPACK)),
    **dict.fromkeys((".zst", ".xz", ".bz2", ".lz4", ".gz", ".z"), ("a packed file", UNPACK)),
    **dict.fromkeys((".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tbz"), ("a tar archive", UNPACK)),
    **dict.fromkeys((".7z", ".rar", ".iso"), ("an archive", UNPACK)),
    ".zip": ("a zip in it", UNPACK),
}
# First bytes, and the ending they belong to.
MAGIC = {
    b"NRRD0": ".nrrd",
    b"ObjectType": ".mha",
    b"\x93NUMPY": ".npy",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"\x89HDF": ".h5",
    b"CDF\x01": ".mnc",
    b"# vtk": ".vtk",
    b"<VTKFile": ".vti",
    b"%PDF": ".pdf",
    b"\x28\xb5\x2f\xfd": ".zst",
    b"\xfd7zXZ": ".xz",
    b"BZh": ".bz2",
    b"7z\xbc\xaf": ".7z",
    b"Rar!": ".rar",
    b"PK\3\4": ".zip",
}


def ending(name: str) -> str:
    """The longest known ending of a name, in small letters; empty if it has none."""
    low = name.lower()
    return max((e for e in (*READ, *IMAGES, *FOREIGN) if low.endswith(e)), key=len, default="")


def kind(entry: Entry) -> str:
    """The ending that stands for the format of a file: that of its name, or what its first bytes tell; empty if
    neither is known, as for DICOM."""
    known = ending(entry.name)
    try:
        with entry.open() as file:
            head = file.read(HEAD)
            packed = head[:2] == GZIP
            if packed:
                file.seek(0)
                head = gzip.GzipFile(fileobj=file).read(HEAD)
    except (OSError, EOFError, ValueError, zlib.error, CTError):
        return known
    if not packed and (head[128:132] == b"DICM" or is_bare(head) or head.startswith(APPLE)):
        return ""
    if known in READ or known in IMAGES:
        return known
    if _is_nifti(head):
        return ".nii"
    if packed:
        return ".tar.gz" if head[257:262] == b"ustar" else known or ".gz"
    told = ".tar" if head[257:262] == b"ustar" else next((e for m, e in MAGIC.items() if head.startswith(m)), "")
    return known if told in ("", ".zip") and known else told


def _is_nifti(head: bytes) -> bool:
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")


def readable(what: str) -> Callable[..., Volume] | None:
    """What reads a kind of file: a function of (entry, resample, assume_hu). None for DICOM and foreign formats."""
    if what in NIFTI or what in IMAGES:
        from endorender.ct.formats import nifti

        return nifti.read
    if what in META:
        from endorender.ct.formats import metaimage

        return metaimage.read
    if what in NRRD:
        from endorender.ct.formats import nrrd

        return nrrd.read
    return None


def refuse(what: str) -> None:
    """Raises CTError UNREADABLE for the ending of a foreign format."""
    if what in FOREIGN:
        name, way_out = FOREIGN[what]
        raise CTError(f"{what} ({name}) is not read: {way_out}", "UNREADABLE")


def within(entries: list[Entry]) -> list[Entry]:
    """The files among those of a folder or zip that hold a volume, in the order of names."""
    return [e for e in entries if kind(e) in READ]


def named(entries: list[Entry]) -> tuple[str, str]:
    """The foreign formats among files, the most frequent first, and the way out of that; empty if none is known."""
    counts = Counter(k for k in map(kind, entries[:1000]) if k in FOREIGN).most_common(3)
    text = ", ".join(f"{n} x {what} ({FOREIGN[what][0]})" for what, n in counts)
    return text, FOREIGN[counts[0][0]][1] if counts else ""
