"""The fast walk through a header finds what pydicom finds, or leaves the file to it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from endorender.ct.dicom.header import CT, MAX_ELEMENTS, NAMES, Header, Short, walk
from endorender.ct.dicom.parsing import BLOCK, parse
from endorender.ct.errors import CTError
from endorender.ct.files import Entry, quiet
from tests.ct import made
from tests.ct.test_hostile import mutated


def value(header, name):
    """Plain Python, or the kind of the exception that reading it raises."""
    try:
        found = header.get(name)
    except Exception as error:
        return type(error).__name__
    return [str(v) for v in found] if isinstance(found, (list, pydicom.multival.MultiValue)) else str(found)


def agrees(data: bytes) -> bool:
    """Whether the walk dared to read it; then all must be as pydicom says."""
    try:
        walked = walk(data)
    except (Short, CTError):
        return False
    if walked is None:
        return False
    with quiet():
        try:
            theirs = pydicom.dcmread(io.BytesIO(data), force=True, stop_before_pixels=True)
        except OSError:  # a wound within an item of a sequence, which is jumped over here
            return False
        names = [n for n in NAMES if "Sequence" not in n]
        if not str(theirs.get("SOPClassUID")).startswith(CT):
            names = ["SOPClassUID"]  # no more was read
        for name in names:
            assert value(walked.header, name) == value(theirs, name), name
        for name, text in walked.header.file_meta.items():
            assert text == str(theirs.file_meta.get(name)), name
    return True


def test_every_packaged_file_of_pydicom_reads_the_same():
    folder = Path(pydicom.__file__).parent / "data" / "test_files"  # the function that lists them would download more
    read = [agrees(file.read_bytes()) for file in sorted(folder.rglob("*")) if file.is_file()]
    print(len(read), sum(read))
    assert sum(read) > 40


@pytest.mark.parametrize("implicit", [False, True])
def test_wounds(tmp_path, implicit):
    def change(ds, n):
        nested = Dataset()
        nested.PatientComments, nested.RescaleSlope = "x", 7
        nested.RequestAttributesSequence = Sequence([Dataset(), Dataset()])
        ds.ReferencedStudySequence = Sequence([nested, nested])
        ds["ReferencedStudySequence"].is_undefined_length = True
        nested.is_undefined_length_sequence_item = True
        ds.add_new(0x00280120, "US", 63536)
        if implicit:
            ds.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian

    made.series(tmp_path, 1, change=change)
    good = next(tmp_path.iterdir()).read_bytes()
    assert agrees(good)
    assert walk(good).header.get("RescaleSlope") == 1  # not the nested one
    assert walk(good).header.get("PixelPaddingValue") == 63536
    rng = np.random.default_rng(int(implicit))
    read = [agrees(mutated(good[:1800], rng) + good[1800:]) for _ in range(1000)]
    assert 150 < sum(read) < 950


def test_short_blocks_are_read_on(tmp_path):
    made.series(tmp_path, 1, change=lambda ds, n: ds.add_new(0x00090010, "OB", bytes(3 * BLOCK)))
    file = next(tmp_path.iterdir())
    with pytest.raises(Short):
        walk(file.read_bytes()[:BLOCK])
    parsed = parse(Entry(1, lambda: io.BytesIO(file.read_bytes())))
    assert isinstance(parsed.dataset, Header)
    offset, size = parsed.span
    assert file.read_bytes()[offset : offset + size] == pydicom.dcmread(file).PixelData


def test_what_is_no_ct_is_not_read_further(tmp_path):
    """A structure set of a million points, or a damaged one, costs nothing beside a scan."""
    made.series(tmp_path, 1, change=lambda ds, n: setattr(ds, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.481.3"))
    data = next(tmp_path.iterdir()).read_bytes().replace(CT.encode() + b"\0", b"1.2.840.10008.5.1.4.1.1.9\0")
    walked = walk(data[:700])
    assert walked is not None
    assert walked.header.get("SOPClassUID") == "1.2.840.10008.5.1.4.1.1.481.3"


def test_a_name_that_is_not_read_cannot_be_asked_for():
    with pytest.raises(KeyError):
        Header({}, {}).get("PatientName")
    assert MAX_ELEMENTS * 12 > BLOCK
