"""Files that are whole or not there, and what a result says of its own origin."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from endorender.errors import UserError, readable
from endorender.outputs import temporary

FORMULA = ("=", "+", "-", "@", "\t", "\r")
SUMMARY = "summary.json"  # of an evaluation
Progress = Callable[[float, int, str], None]  # done, in all, what is going on
PACKAGES = (
    "endorender", "torch", "lightning", "torchmetrics", "safetensors", "transformers", "peft", "kornia", "numpy",
    "matplotlib",
)  # fmt: skip


def missing_extra(error: ImportError) -> UserError:
    """The one line for a user who installed endorender without its networks."""
    return UserError(
        f"training and evaluation need {error.name or 'more packages'}; install them with: "
        "pip install 'endorender[train]'",
        "MISSING_EXTRA",
    )


def write_atomic(path: Path, content: bytes | str) -> None:
    """Writes beside `path`, syncs, renames: a reader sees the old file or the new one, never half of one."""
    part = temporary(path)
    try:
        with open(part, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Numbers are written so that reading them gives the same double; no text is one that a spreadsheet would run."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_cell(name) for name in header])
    writer.writerows([_cell(value) for value in row] for row in rows)
    write_atomic(path, text.getvalue())


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows of a file that `write_csv` wrote, by column. Errors: OSError."""
    with open(path, newline="", encoding="utf-8") as file:
        return [{_text(key): _text(value) for key, value in row.items()} for row in csv.DictReader(file)]


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return repr(float(value))
    # An apostrophe before it keeps a spreadsheet from taking a name for a formula (OWASP, CSV injection).
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _text(value: Any) -> Any:
    return value[1:] if isinstance(value, str) and value[:1] == "'" and value[1:].startswith(FORMULA) else value


def write_json(path: Path, value: Any) -> None:
    """Indented JSON that ends in a newline; NaN is refused, since JSON has none."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, what: str) -> dict[str, Any]:
    """A mapping. `what` is said to the user when the file is absent or is not JSON: "a training run"."""
    if not path.is_file():
        raise UserError(f"{path.parent} is not {what}: it has no {path.name}", "NOT_FOUND")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{path} is not JSON of {what}: it was cut short or edited; make it again", "TRUNCATED")
    return found


def digests(folder: Path) -> dict[str, str]:
    """File name -> SHA-256, of the files that lie in a folder."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir()) if p.is_file()}


def fingerprint(value: Any) -> str:
    """First 16 hexadecimal digits of the SHA-256 of the canonical JSON of `value`."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def derive(*parts: Any) -> int:
    """A 63-bit seed that depends on every part: `derive(seed, "order", epoch)`."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def versions() -> dict[str, str]:
    """Versions of what made a result: Python, the machine's kind, and the packages that matter."""
    found = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


# Options whose values are never a path. What is not listed is taken for one: a folder's name may be a patient's,
# whether the folder is there already or not.
WORDS = (
    *("--preset", "--views", "--size", "--input-size", "--spp", "--seed", "--steps", "--batch", "--learning-rate"),
    *("--variations", "--split", "--protocol", "--patients", "--model", "--loss", "--fine-tune", "--images"),
    *("--device", "--workers", "--label", "--title", "--setting", "--until"),
)
EXPERIMENTS = ("adapt", "data", "variety", "mix")


def command(argv: Sequence[str] | None = None) -> str:
    """The command as typed, with PATH for everything that may be one: where data lies is its owner's affair."""
    argv = sys.argv if argv is None else argv
    if Path(argv[0]).stem not in ("endorender", "__main__"):
        return " ".join(["python", *("PATH" for _ in argv[1:2])])
    words, flag = ["endorender", *argv[1:2]], ""
    for word in argv[2:]:
        if word.startswith("--"):
            flag, equals, value = word.partition("=")
            words.append(flag + equals + (_private(flag, value) if equals else ""))
            flag = "" if equals else flag
        else:
            words.append(_private(flag, word))
            flag = ""
    return " ".join(words)


def _private(flag: str, word: str) -> str:
    """The value of an option, or PATH. Without an option before it only an experiment's name is no path."""
    harmless = flag in WORDS and not _is_path(word)
    return readable(word) if harmless or (not flag and word in EXPERIMENTS) else "PATH"


def _is_path(word: str) -> bool:
    return "/" in word or os.sep in word or "@" in word or word.startswith("~")
