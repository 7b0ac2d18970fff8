"""A finished dataset of 200,000 rows that share three files.

`python -m tests.dataset.checking OUT` verifies it and prints what it finds by code, and its peak in MB.
"""

import json
import sys
from collections import Counter
from pathlib import Path

from endorender.dataset.frame import frame_id
from endorender.dataset.generate import describe
from endorender.dataset.verify import verify
from endorender.dataset.writer import dumps
from tests.dataset.planning import peak
from tests.dataset.sphere import configuration, make

PATIENTS, VIEWS = 2, 100_000


def main(root: Path) -> None:
    """Multiply the row of a small dataset."""
    make(root, patients=1, views=1, names=("plain",))
    config = configuration(patients=PATIENTS, views=VIEWS, names=("plain",))
    (root / "dataset.json").write_text(dumps(describe(config)))
    # As long as the row of a traced frame.
    told = json.loads((root / "manifest.jsonl").read_text()) | {
        "parameters": {"tissue": {"albedo": [0.123456789] * 100}}
    }
    with (root / "manifest.jsonl").open("w") as manifest:
        for patient in (p.alias for p in config.ct):
            for n in range(VIEWS):
                own = {"id": frame_id(patient, n, "plain"), "patient": patient, "view": n}
                manifest.write(json.dumps(told | own) + "\n")
    print(json.dumps(Counter(finding.code for finding in verify(root))), peak())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
