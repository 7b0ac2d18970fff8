"""`python -m endorender`: hands over to the command line. The one import that runs backwards."""

import importlib
import os
import sys
from pathlib import Path

# `-m` puts the working directory first on the path. It may hold other packages called `cli` and `training`.
if sys.path and sys.path[0] == os.getcwd() and Path(sys.path[0]) != Path(__file__).parents[1]:
    del sys.path[0]

if __name__ == "__main__":
    importlib.import_module("cli.main").main(prog_name="endorender")
