"""DICOM in: which files make a volume."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from endorender.ct.dicom.parsing import parse
from endorender.ct.dicom.phases import pick
from endorender.ct.dicom.slices import Slice, slices_of
from endorender.ct.dicom.stack import assemble
from endorender.ct.errors import CTError
from endorender.ct.files import files, quiet
from endorender.ct.volume import Volume

Progress = Callable[[float, int, str], None]
LISTED = 12  # series that a message names


def read(
    path: Path,
    series: str | None = None,
    resample: bool = False,
    assume_hu: bool = False,
    progress: Progress | None = None,
    phase: str | int | None = None,
) -> Volume:
    """A CT from a folder (searched to the bottom), one file, or a zip of DICOM.

    series: number in the list that SERIES_AMBIGUOUS prints, or a SeriesInstanceUID.
    progress: called with (done, total, what) while files are read.
    phase: which of several scans of one place under one series (number in the list of PHASE_AMBIGUOUS), or "all".
    Raises CTError; see endorender.ct.errors.CODES.
    """
    found = scan(path, progress)
    notes = list(found.notes)
    chosen = pick(choose(found, series, notes), phase, notes)
    return assemble(chosen, notes, resample, assume_hu, progress)


@dataclass(frozen=True)
class Found:
    """What a folder holds. stacks: slices of one geometry each, in the order that --series counts.
    broken: (SeriesInstanceUID, why) of CT images without which their series is not whole."""

    stacks: list[list[Slice]]
    broken: list[tuple[str, CTError]]
    notes: tuple[str, ...]


def scan(path: Path, progress: Progress | None = None) -> Found:
    """Every CT slice among the files; the others are counted. Raises CTError NO_CT, TRUNCATED, ..."""
    notes: list[str] = []
    slices: list[Slice] = []
    broken: list[tuple[str, CTError]] = []
    junk = 0
    others: Counter[str] = Counter()
    entries = files(path, notes)
    with quiet():
        for entry in entries:
            if progress is not None:
                progress(entry.number - 1, len(entries), "reading headers")
            parsed = parse(entry)
            if parsed is None:
                junk += 1
                continue
            uid = ""
            try:
                uid = str(parsed.dataset.get("SeriesInstanceUID") or "")
                planes = slices_of(parsed, entry)
            except CTError as error:
                broken.append((uid, error))
                continue
            except Exception as error:  # pydicom converts a value when it is asked for, and may choke on it
                kind = type(error).__name__
                broken.append((uid, CTError(f"a tag of {_of(entry.number)} holds rubbish ({kind})", "MISSING_TAG")))
                continue
            if isinstance(planes, str):
                others[planes] += 1
            else:
                slices += planes
    if junk:
        notes.append(f"{junk} files that are no DICOM were passed over")
    if others:
        notes.append(f"{others.total()} DICOM files that are no CT slices were passed over")
    if not slices and broken:
        raise broken[0][1]
    if not slices:
        raise _no_ct(junk, others)
    return Found(_stacks(slices), broken, tuple(notes))


def _no_ct(junk: int, others: Counter[str]) -> CTError:
    """others: what the DICOM files are."""
    listed = [f"{count} x {what}" for what, count in others.most_common(4)]
    listed += ["DICOM files of other kinds"] if len(others) > 4 else []
    listed += [f"{junk} files are no DICOM"] if junk else []
    hint = "give the folder that holds the slices of a CT"
    if any(word in what for what in others for word in ("MR", "Positron", "cone-beam", "modality")):
        hint = "only CT has Hounsfield units, give the CT"
    return CTError(f"no CT slices here ({', '.join(listed) or 'nothing'}): {hint}", "NO_CT")


def _of(number: int) -> str:
    return f"a slice (file {number} in the order of names)"


def _stacks(slices: list[Slice]) -> list[list[Slice]]:
    """Slices of one series, one geometry and one way to make them, each to what rounding leaves."""
    stacks: list[list[Slice]] = []
    by_uid: dict[tuple[str, int, int], list[list[Slice]]] = {}
    for s in slices:
        alike = by_uid.setdefault((s.uid, s.rows, s.cols), [])
        home = next((stack for stack in alike if stack[0].matches(s)), None)
        if home is None:
            home = []
            alike.append(home)
            stacks.append(home)
        if home and not home[0].kernel and s.kernel:  # one that says more represents them
            home.insert(0, s)
        else:
            home.append(s)
    return sorted(stacks, key=lambda stack: _order(stack[0]))


def _order(s: Slice) -> tuple[Any, ...]:
    return s.number, s.uid, s.rows, s.cols, s.kernel, s.kvp or 0, s.posture


def choose(found: Found, series: str | None, notes: list[str]) -> list[Slice]:
    """The slices of one volume. Raises CTError SERIES_AMBIGUOUS, NO_SERIES, MIXED_GEOMETRY, or why they are broken."""
    candidates = found.stacks
    if series is not None:
        by_number = {str(i): stack for i, stack in enumerate(candidates, 1)}
        chosen = [by_number[series]] if series in by_number else [c for c in candidates if c[0].uid == series]
        if not chosen:
            raise CTError(f"no such series here; there are: {listing(candidates)}", "NO_SERIES")
        candidates = chosen
    elif len({c[0].uid for c in candidates}) > 1 and any(len(c) > 1 for c in candidates):
        # A single plane beside a stack is a scout or a key image that does not say so.
        stacked = {c[0].uid for c in candidates if len(c) > 1}
        single = [c for c in candidates if c[0].uid not in stacked]
        if single:
            notes.append(f"{len(single)} single images of other series were passed over")
        candidates = [c for c in candidates if c[0].uid in stacked]
    if len(candidates) > 1:
        one = len({c[0].uid for c in candidates}) == 1
        listed = listing(found.stacks)  # the numbers are those that --series takes
        if one and min(map(len, candidates)) < 3:
            alike = all(
                (c[0].rows, c[0].cols) == (candidates[0][0].rows, candidates[0][0].cols)
                and c[0].lies_as(candidates[0][0])
                for c in candidates
            )
            what = "kernel, tube voltage or posture" if alike else "size, orientation or pixel spacing"
            raise CTError(
                f"slices of one series differ in {what} ({listed}): --series chooses by number", "MIXED_GEOMETRY"
            )
        raise CTError(f"{len(candidates)} volumes, choose one with --series NUMBER: {listed}", "SERIES_AMBIGUOUS")
    stack = candidates[0]
    for uid, error in found.broken:
        if uid in ("", stack[0].uid):  # one of this very stack may be missing
            raise error
    if found.broken:
        notes.append(f"{len(found.broken)} images of other series cannot be placed and were passed over")
    return stack


def listing(candidates: list[list[Slice]]) -> str:
    """`1) 133 slices 512 x 512, 0.703 mm, STANDARD, 2.5 mm thick; 2) ...`, free of patient data."""
    lines = []
    voltages = {stack[0].kvp for stack in candidates}
    # A kernel that is not on the list may hold a remark about the patient: such ones are told apart by a number.
    others = sorted({c[0].kernel for c in candidates if c[0].kernel and "kernel" not in dict(c[0].facts)})
    unnamed = {kernel: f", unnamed kernel {n}" for n, kernel in enumerate(others, 1)} if len(others) > 1 else {}
    for i, stack in enumerate(candidates[:LISTED], 1):
        s = stack[0]
        facts = dict(s.facts)
        text = f"{i}) {len(stack)} slices {s.cols} x {s.rows}, {s.pitch[0]:.3g} mm"
        text += f", {s.posture}" if s.posture else ""
        text += f", {facts['kernel']}" if "kernel" in facts else unnamed.get(s.kernel, "")
        text += f", {s.kvp:g} kVp" if len(voltages) > 1 and s.kvp is not None else ""
        text += f", {facts['thickness_mm']:g} mm thick" if "thickness_mm" in facts else ""
        lines.append(text)
    if len(candidates) > LISTED:
        lines.append(f"and {len(candidates) - LISTED} more")
    return "; ".join(lines)
