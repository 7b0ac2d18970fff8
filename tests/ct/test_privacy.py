"""Patient data: what is planted in every text of a header, and in names, comes out nowhere."""

from __future__ import annotations

import logging
import shutil
import zipfile

import nibabel as nib
import numpy as np
import pytest
from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from endorender.ct import CTError, load, open_ct
from endorender.ct.files import quiet
from tests.cli.test_main import run
from tests.ct import made
from tests.ct.corpus_nifti import STRAIGHT, field, image

WORD = "CANARY"  # short enough for a code string
TEXTS = {"AE", "AS", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}
# What decides whether a file is a CT slice; a text there makes it something else.
NEEDED = {"Modality", "ImageType", "PhotometricInterpretation", "SpecificCharacterSet", "LossyImageCompression"}


def plant(ds: Dataset, n: int) -> None:
    """The word in every text tag that DICOM knows, repeated, private and nested; dates and numbers of its own."""
    for tag, (vr, *_, keyword) in DicomDictionary.items():
        some = n % 4 == 0 or keyword == "ConvolutionKernel"  # two kernels would be two volumes
        if some and vr in TEXTS and keyword not in NEEDED and tag >> 16 not in (0, 2, 4, 0xFFFE):
            ds.add_new(tag, vr, WORD)
    nested = Dataset()
    nested.PatientName = nested.PatientComments = WORD
    ds.ReferencedStudySequence = ds.RequestAttributesSequence = Sequence([nested])
    block = ds.private_block(0x0029, WORD, create=True)
    for element in range(8):
        block.add_new(element, "LO", f"{WORD} {element}")
    ds.PatientBirthDate = "19431029"
    ds.SeriesInstanceUID = ds.StudyInstanceUID = "1.2.7777777.1"
    ds.RescaleType = "HU"
    assert dictionary_VR("ConvolutionKernel") in TEXTS  # which is on the list of what may pass


SECRETS = (WORD, "19431029", "7777777")


def clean(text: str, *but: object) -> None:
    for shown in but:  # a path that the user gave as an output is the user's to see
        text = text.replace(str(shown), "")
    for secret in SECRETS:
        assert secret not in text


@pytest.fixture
def listening(caplog, capfd):
    """Everything that was logged or printed, by any library."""
    caplog.set_level(logging.DEBUG)
    return lambda: caplog.text + "".join(capfd.readouterr())


def wounds():
    """Changes after which a series is refused, each on another road."""
    yield "gap", lambda folder: min(folder.glob("*.dcm"), key=_height(3)).unlink()
    for n, keep in enumerate((100, 900, 3000, 20_000)):
        yield f"cut{n}", lambda folder, keep=keep: _cut(max(folder.glob("*.dcm")), keep)
    for tag in ("PixelSpacing", "ImagePositionPatient", "RescaleSlope", "Rows", "KVP", "BitsAllocated"):
        yield tag, lambda folder, tag=tag: _rubbish(max(folder.glob("*.dcm")), tag)


def _height(n):
    return lambda file: abs(float(_read(file).ImagePositionPatient[2]) + 40 - 3 * n)


def _read(file):
    import pydicom

    with quiet():
        return pydicom.dcmread(file)


def _cut(file, keep):
    file.write_bytes(file.read_bytes()[:keep])


def _rubbish(file, tag):
    """The word where a number should be."""
    ds = _read(file)
    data = file.read_bytes()
    at = data.find(int(ds[tag].tag >> 16).to_bytes(2, "little") + int(ds[tag].tag & 0xFFFF).to_bytes(2, "little"))
    room = int.from_bytes(data[at + 6 : at + 8], "little")
    file.write_bytes(data[: at + 8] + WORD.encode()[:room].ljust(room) + data[at + 8 + room :])


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A series with a lone MR image and a note beside it."""
    folder = tmp_path_factory.mktemp("planted")
    with quiet():
        made.series(folder, prefix=WORD, change=plant)
        made.series(folder, 1, prefix=f"{WORD}x", change=lambda ds, n: (plant(ds, n), setattr(ds, "Modality", "MR")))
    (folder / f"{WORD}.txt").write_text(WORD)
    return folder


@pytest.mark.parametrize("wound", [None, *wounds()], ids=lambda w: w[0] if w else "good")
def test_dicom(planted, tmp_path, wound, listening):
    folder = tmp_path / f"{WORD}^JANE"
    shutil.copytree(planted, folder)
    if wound:
        wound[1](folder)
    try:
        volume = load(folder)
        told = repr(volume) + repr(volume.warnings) + repr(dict(volume.meta))
    except CTError as error:
        told = str(error)
    clean(told + listening())
    for options in ([], ["--json"], ["--series", "1"], ["--series", "9"]) if wound is None else (["--json"],):
        result = run("inspect", folder, *options, "--preview", tmp_path / "p.png")
        assert result.exit_code in (0, 2)
        clean(result.output + listening(), tmp_path / "p.png")
    if (tmp_path / "p.png").exists():
        clean((tmp_path / "p.png").read_bytes().decode("latin-1"))


def test_zip_member_names(tmp_path, listening):
    with quiet():
        made.series(tmp_path / "in", change=plant)
    with zipfile.ZipFile(tmp_path / f"{WORD}.zip", "w") as archive:
        for file in (tmp_path / "in").iterdir():
            archive.write(file, f"{WORD}/{file.name}")
        archive.writestr(f"{WORD}.broken", b"\0" * 128 + b"DICM" + WORD.encode() * 9)
    result = run("inspect", tmp_path / f"{WORD}.zip")
    assert result.exit_code == 2
    clean(result.output + listening())


@pytest.mark.parametrize("wound", ["good", "cut", "offset", "singular", "intent"])
def test_nifti(tmp_path, wound, listening):
    made_image = image()
    for name in ("descrip", "aux_file", "db_name", "intent_name"):
        made_image.header[name] = WORD.encode()
    made_image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", WORD.encode() * 99))
    raw = bytearray(made_image.to_bytes())
    if wound == "offset":
        raw[108:112] = np.array([1e30], "<f4").tobytes()
    elif wound == "singular":
        raw[280:328] = bytes(48)
    elif wound == "intent":
        raw[68:72] = b"\xff\x7f\xff\x7f"
    path = tmp_path / f"{WORD}.nii"
    path.write_bytes(bytes(raw[:-500] if wound == "cut" else raw))
    result = run("inspect", path, "--json")
    assert (result.exit_code == 0) == (wound == "good")
    clean(result.output + listening())
    if wound == "good":
        assert np.array_equal(load(path).hu, field(STRAIGHT))


@pytest.mark.parametrize("path", [f"/{WORD}/nowhere", f"{WORD}\0", f"phantom:{WORD}"])
def test_paths_are_not_repeated(path, listening):
    with pytest.raises(CTError) as caught:
        open_ct(path)
    clean(str(caught.value) + listening())
