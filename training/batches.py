"""In which order frames are trained on, and how they are handed over, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from endorender.errors import UserError
from training.data import DepthFrames
from training.files import derive


def order(count: int, seed: int, epoch: int) -> list[int]:
    """The permutation of `count` frames in an epoch: a pure function of its arguments."""
    generator = torch.Generator().manual_seed(derive(seed, "order", epoch))
    return torch.randperm(count, generator=generator).tolist()


class Loader(DataLoader):
    """A DataLoader whose worker processes hand a UserError over as it is.

    torch raises it anew with the worker's traceback for a message, and without its code.
    """

    def __init__(self, frames: DepthFrames, **settings: Any):
        super().__init__(_Told(frames), collate_fn=_as_it_is, **settings)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # nobody asks the iterator for more than batches
        for batch in super().__iter__():
            if isinstance(batch, UserError):
                raise batch
            yield batch


class _Told(Dataset):
    """Frames by lists of their numbers; what is wrong with one is handed over in their place."""

    def __init__(self, frames: DepthFrames):
        self.frames = frames

    def __len__(self) -> int:
        return len(self.frames)

    def __getitems__(self, indices: list[Any]) -> dict[str, Any] | UserError:
        try:
            return self.frames.batch(indices)
        except UserError as error:
            return error


def _as_it_is(batch: Any) -> Any:
    return batch


class SeededBatches(Sampler[list[Any]]):
    """Batches number `first` to `last` - 1 of the endless shuffled stream of `count` frames.

    The stream is one epoch's order after another, cut into batches without regard to where an epoch ends:
    every batch is full, and the batch of a step is known without replaying the steps before it, so that
    the sampler's position is the step. part: which of each batch's frames; by default all. numbered: frames come
    with the number of their reading, step x batch + place in the batch.
    """

    def __init__(
        self,
        count: int,
        batch: int,
        seed: int,
        first: int,
        last: int,
        part: slice = slice(None),
        numbered: bool = False,
    ):
        self.count, self.batch, self.seed, self.first, self.last = count, batch, seed, first, last
        self.part, self.numbered = part, numbered

    def __len__(self) -> int:
        return max(0, self.last - self.first)

    def __iter__(self) -> Iterator[list[Any]]:
        epoch, indices = -1, []
        for position in range(self.first * self.batch, self.last * self.batch, self.batch):
            chosen = []
            for k in range(position, position + self.batch):
                if k // self.count != epoch:
                    epoch = k // self.count
                    indices = order(self.count, self.seed, epoch)
                index = indices[k % self.count]
                chosen.append((index, k) if self.numbered else index)
            yield chosen[self.part]


def subset(frames: Sequence[Any], count: int | None, seed: int) -> list[Any]:
    """`count` of the frames in their order, drawn by the seed; a larger subset holds the smaller ones."""
    if count is None or count >= len(frames):
        return list(frames)
    return [frames[k] for k in sorted(order(len(frames), seed, -1)[:count])]
