"""Makes the network that ships (training/shipped) of a run and its evaluations, with its card.

    python docs/make_shipped.py RUN EVALUATION [EVALUATION ...]

Each evaluation is a test set on the card. Nothing of the card is typed: it changes when these do.
"""

from __future__ import annotations

import sys

from training.shipping import card, ship

if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    ship(sys.argv[1], sys.argv[2:])
    print(card())
