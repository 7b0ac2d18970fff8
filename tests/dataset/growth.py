"""Many tiny frames in one process: `python -m tests.dataset.growth OUT VIEWS` prints `frames done, resident MB`."""

import os
import sys
from pathlib import Path

from endorender.dataset import configure, generate
from tests.dataset.tubes import tube

EVERY = 250


def resident() -> float:
    """MB of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main(out: Path, views: int) -> None:
    """Every frame has a tissue of its own, so that whatever is kept for a tissue shows."""
    ct = tube(out.with_suffix(".nii.gz"))
    drawn = [
        {
            "name": f"v{n}",
            "look": "pale_pink",
            "tissue": {"roughness": {"uniform": [0.05, 0.5]}},
            "light": {"intensity": {"uniform": [500, 1500]}},
        }
        for n in range(4)
    ]
    config = configure(ct=str(ct), views=views, size="8x8", spp=1, variations=[{"name": "synthetic"}, *drawn])
    shown = -EVERY

    def progress(done: float, total: int, text: str) -> None:
        nonlocal shown
        if done >= shown + EVERY:
            shown = int(done) // EVERY * EVERY
            print(shown, f"{resident():.1f}", flush=True)

    generate(config, out, progress=progress)
    print("end", f"{resident():.1f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
