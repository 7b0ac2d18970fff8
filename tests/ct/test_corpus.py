"""Every case of the corpus ends as it must, and the readers that are trusted agree wherever a volume comes out."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from endorender.ct import CODES, CTError, load
from endorender.ct.dicom.decoder import kept
from tests.ct import corpus_formats, corpus_series, oracles
from tests.ct.corpus import LOADS, cases
from tests.ct.made import CANARY, truth

SLOW = ("a header of a million elements",)  # 6 s: as long as a hostile file may take


@pytest.fixture(autouse=True, scope="module")
def one_decoder():
    """Compressed cases share the process that decodes them."""
    with kept():
        yield


def by_name(some):
    marked = [pytest.param(c, marks=pytest.mark.slow) if c.name in SLOW else c for c in some]
    return {"argvalues": marked, "ids": [c.name.replace(" ", "-") for c in some]}


@pytest.mark.parametrize("case", **by_name(cases()))
def test_outcome(case, tmp_path, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    path = case.make(tmp_path / CANARY)
    told, refusal, volume = "", None, None
    try:
        volume = load(path)
    except CTError as error:
        refusal = error
    if volume is None:
        told = str(refusal)
        assert refusal.code == case.outcome, told
        assert refusal.code in CODES
        assert "\n" not in told
        assert ":" in told  # what was seen: the way out
    else:
        assert case.outcome == LOADS, f"{case.name} was loaded: {volume} {volume.warnings}"
        told = repr(volume) + repr(volume.warnings) + repr(dict(volume.meta))
        if case.field:
            at = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"), axis=-1).reshape(-1, 3)
            points = volume.to_world(at)
            assert np.abs(volume.hu.reshape(-1) - truth(points)).max() < 0.8
    told += "".join(capfd.readouterr()) + caplog.text
    assert "CANARY" not in told


SAID = corpus_series.SAID | corpus_formats.SAID


def said(name, tmp_path) -> str:
    """The refusal, or the warnings."""
    try:
        return "\n".join(load(next(c for c in cases() if c.name == name).make(tmp_path / "in")).warnings)
    except CTError as refusal:
        return str(refusal)


@pytest.mark.parametrize("name", SAID)
def test_cause_and_way_out_are_said(name, tmp_path):
    assert SAID[name] in said(name, tmp_path)


@pytest.mark.parametrize("name", corpus_series.UNSAID)
def test_nothing_misleads(name, tmp_path):
    assert corpus_series.UNSAID[name] not in said(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pixels displaced by bytes put in", "in 1 files bytes that are no DICOM follow the pixels"),
        ("NIfTI, bytes put in, a.nii", "bytes follow the voxels"),
        ("NIfTI, bytes put in, a.nii.gz", "bytes follow the voxels"),
        ("tags and padding behind the pixels", None),
        ("pixels one byte too long", None),
        ("identical duplicates", "3 duplicate slices were dropped"),
        ("padding of -3024 smeared by resampling of order 3", "beside padding of -3024, with which an earlier"),
        ("padding of -2048 smeared, and named", "voxels below -1100 HU beside padding"),
        ("padding of -2048, JPEG 2000 of rate 12", "lossy compression mixed them"),
        ("once lossy", "compressed with loss"),
        ("JPEGLSNearLossless, with loss", "compressed with loss"),
        ("JPEG2000, with loss", "compressed with loss"),
        ("JPEGExtendedProcess2_4, with loss", "compressed with loss"),
        ("JPEG2000Lossless", None),
        ("a range of padding that looks like bone", "576 padding voxels were taken for air"),
        ("NIfTI, voxels a little later", "16 bytes that nothing announces"),
        ("NIfTI, extension and description", None),
        ("NIfTI, no form", "side of the body are unknown"),
        ("NIfTI, sform moved by a registration", "place the scan differently"),
        ("beside a scout that does not say so", "1 single images of other series were passed over"),
        ("rescale differs by slice", "changes from slice to slice"),
        ("links that go round", "were not entered"),
    ],
)
def test_what_loads_with_a_warning(name, words, tmp_path):
    volume = load(next(c for c in cases() if c.name == name).make(tmp_path / "in"))
    assert any(words in w for w in volume.warnings) if words else not volume.warnings


# Where another reader makes something else of a good scan, and why it is wrong to.
ITK, NIIX, NIB = oracles.TOOLS
DIFFERS = {
    "positions rounded to a hundredth": {NIIX: "takes the first two slices' distance for all"},
    "12 bits at the top of the word": {
        ITK: "ignores HighBit, which files of before 2011 may set",
        NIIX: "ignores HighBit, which files of before 2011 may set",
    },
    "inverted display": {ITK: "inverts stored values before the rescale; MONOCHROME1 is about display alone"},
    "deflated": {NIIX: "does not read it"},
    "JPEGExtendedProcess2_4, with loss": {NIIX: "has no decoder for JPEG of 12 bits that loses"},
    "pixels displaced by bytes put in": {ITK: "refuses the file; we warn"},
    "identical duplicates": {ITK: "stacks copies as slices of their own"},
    "concatenation": dict.fromkeys((ITK, NIIX), "takes each part for a volume of its own"),
    "concatenation without its total": dict.fromkeys((ITK, NIIX), "takes each part for a volume of its own"),
    "a copy 0.03 mm away": {ITK: "stacks copies as slices of their own"},
    "without BitsAllocated": {ITK: "does not read it"},
    "enhanced, run lengths": {NIIX: "decodes one fragment of six"},
    "enhanced, frames in any order": {
        ITK: "stacks frames as they come",
        NIIX: "gives the right order and a pitch of 0.6 instead of 3 mm",
    },
    "enhanced, all of it per frame": {ITK: "believes what all share before what a frame says", NIIX: "gives up"},
    "legacy converted": {NIIX: "does not read it"},
    "names from hell": {ITK: "does not open names that are no UTF-8"},
    "MetaImage, packed, its packed size not said": {ITK: "does not inflate it and gives zeros or rubbish"},
    "NRRD, bzip2": {ITK: "is built without bzip2"},
    "NIfTI-2": {ITK: "does not read it"},
    "NIfTI, packed but not named so": {ITK: "believes the name", NIB: "believes the name"},
    "NIfTI, named as packed": {NIB: "believes the name"},
    "NIfTI, slope 0 means none": {ITK: "adds scl_inter all the same; nifti1.h says not to"},
    "NIfTI, lengths in meter": {NIB: "leaves units to its user"},
    "NIfTI, lengths in micron": {NIB: "leaves units to its user"},
    **{
        f"NIfTI, quaternion longer than 1 by {e}": {NIB: "takes no quaternion that rounding made longer than 1"}
        for e in ("1e-06", "1e-05", "0.0001")
    },
    "NIfTI, no form": {ITK: "places it as Analyze did; we warn that its place is unknown"},
    "NIfTI, sform moved by a registration": {ITK: "prefers the qform; we warn that they differ"},
}


@pytest.mark.parametrize("tool", oracles.TOOLS)
@pytest.mark.parametrize("case", **by_name([c for c in cases() if c.outcome == LOADS]))
def test_others_agree(case, tool, tmp_path):
    if not oracles.available(tool):
        pytest.skip(f"{tool} is not installed")
    path = case.make(tmp_path / "in")
    if not oracles.applies(tool, path):
        pytest.skip(f"{tool} reads no such thing")
    expected = "refuses or differs" if tool in DIFFERS.get(case.name, {}) else "agrees"
    found = oracles.verdict(tool, path, LOADS)
    assert found in expected, f"{tool} {found}"
