"""Train the reader of faces' parts that `sagan evaluate --features avatar-parts` uses.

About three minutes of one core, besides drawing the faces of `--data avatars` once:

    OMP_NUM_THREADS=1 python runs/avatar-parts.py

The last tenth of the training drawings decides which pieces are compared: those that are read
correctly in at least 90% of them. Their accuracies in these are printed, a little optimistic for
that; --check prints those in the test drawings.
"""

import argparse
import itertools
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from sagan.data import PackedDataset, open_dataset
from sagan.data.attributes import read_attributes
from sagan.metrics.features.network import open_network
from sagan.metrics.parts.agreement import agreements, by_distance, read_styles
from sagan.metrics.parts.pieces import (
    KINDS,
    READ,
    SIDES,
    SIZE,
    WHOLE,
    Kind,
    Pair,
    PartsTable,
    Piece,
    Value,
    What,
)  # fmt: skip
from sagan.metrics.parts.reader import PieceReader, color_view, eyes_view, masked
from sagan.metrics.parts.weights import WEIGHTS, read_table
from sagan.storage.files import sha256_of
from sagan.types import Float32Array, Int64Array, StrArray

# DiceBear's names of what is read; a style has one of them, or none.
ATTRIBUTES: dict[What, tuple[str, ...]] = {
    "hair": ("hairColor",),
    "skin": ("skinColor", "baseColor"),
    "eyes": ("eyesVariant",),
}
CUTS: dict[Kind, range] = {
    "hair": range(20, 45, 4),
    "skin": range(20, 45, 4),
    "neck": range(36, 57, 4),
    "eyes": range(24, 43, 2),
}
DISTANCES: dict[Kind, tuple[int, ...]] = {
    "hair": (0, 8, 16),
    "skin": (0, 8, 16),
    "neck": (0, 4, 8),
    "eyes": (0, 4, 8),
}
# Three styles have 24 to 32 kinds of eyes, a few pixels each.
MAX_VALUES: dict[What, int] = {"hair": 20, "skin": 20, "eyes": 8}
MIN_ACCURACY = 0.9
TOLERANCE = 0.03  # below the best accuracy, for a cut nearer to where it should be
# Of a face, and as low as possible, so that there is little face below the cut.
MIDDLE: dict[Kind, int] = {"hair": 32, "skin": 32, "neck": 64, "eyes": 32}
STEPS = (800, 400)
BATCH, RATE, WARM_UP, DECAY = 128, 4e-3, 50, 0.02


class Drawings:
    """Faces with what is known of them.

    Attributes:
        images: uint8 (N, 64, 64, 3).
        styles: int64 (N,).
        texts: for each of `ATTRIBUTES`, the values as text (N,); "" for none.
    """

    def __init__(self, dataset: PackedDataset) -> None:
        assert dataset.labels is not None
        self.classes = dataset.classes
        self.images = torch.from_numpy(np.array(dataset.images))
        self.styles = torch.from_numpy(np.array(dataset.labels))
        known = read_attributes(dataset)
        self.texts: dict[What, StrArray] = {}
        for what, names in ATTRIBUTES.items():
            texts = np.full(len(dataset), "", dtype=object)
            for name in names:
                has = known[name].codes >= 0
                texts[has] = np.array(known[name].values, dtype=object)[known[name].codes[has]]
            self.texts[what] = texts.astype(str)

    def values(self, what: What) -> tuple[Value, ...]:
        """Return the values of each style that has several, but not too many to learn."""
        found: list[Value] = []
        for label, style in enumerate(self.classes):
            texts = sorted(set(self.texts[what][self.styles.numpy() == label].tolist()))
            if 1 < len(texts) <= MAX_VALUES[what]:
                found += [Value(style=style, value=text) for text in texts]
        return tuple(found)

    def codes(self, what: What, values: tuple[Value, ...]) -> Tensor:
        """Return the index in `values` of each drawing's value, or -1: int64 (N,)."""
        index = {(value.style, value.value): code for code, value in enumerate(values)}
        pairs = zip(self.styles.tolist(), self.texts[what].tolist(), strict=True)
        return torch.tensor([index.get((self.classes[s], text), -1) for s, text in pairs])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--steps", type=int, nargs=2, default=STEPS, metavar="N", help="for colors, for eyes"
    )
    parser.add_argument("--check", action="store_true", help="measure the shipped file instead")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.check:
        check(Drawings(open_dataset("avatars", SIZE, split="test")))
        return
    drawings = Drawings(open_dataset("avatars", SIZE))
    values = {what: drawings.values(what) for what in ATTRIBUTES}
    cut = len(drawings.images) * 9 // 10
    train, held_out = torch.arange(cut), torch.arange(cut, len(drawings.images))

    readers = {
        name: train_reader(drawings, values, name, train, steps)
        for name, steps in zip(("colors", "eyes"), options.steps, strict=True)
    }
    finish(readers, drawings, values, held_out)


def finish(
    readers: dict[str, PieceReader], drawings: Drawings, values: dict[What, tuple[Value, ...]],
    held_out: Tensor,
) -> None:  # fmt: skip
    """Choose what is compared by what the readers can read, and write the file."""
    found = accuracies(readers, drawings, values, held_out)
    pairs = tuple(choose_pairs(found, drawings.classes))
    table = PartsTable(styles=drawings.classes, values=values, pairs=pairs)
    tensors = {
        f"{name}.{key}": (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, reader in readers.items()
        for key, tensor in reader.state_dict().items()
    }
    save_file(tensors, WEIGHTS, metadata={"table": table.model_dump_json()})
    print(f"SHA256 = {sha256_of(WEIGHTS)!r}: put it into sagan/metrics/parts/weights.py")


def heads(name: str, values: dict[What, tuple[Value, ...]]) -> list[What]:
    return ["eyes"] if name == "eyes" else [what for what in values if what != "eyes"]


def view_of(name: str, images: Tensor) -> Tensor:
    return eyes_view(images) if name == "eyes" else color_view(images)


def train_reader(
    drawings: Drawings, values: dict[What, tuple[Value, ...]], name: str, rows: Tensor,
    steps: int,
) -> PieceReader:  # fmt: skip
    """Train one of the two networks on random pieces of the drawings at `rows`."""
    torch.manual_seed(0)
    attributes = heads(name, values)
    sizes = [len(values[what]) for what in attributes]
    num_styles = len(drawings.classes) if name == "colors" else 0
    reader = PieceReader(num_styles + sum(sizes)).to(memory_format=torch.channels_last)
    codes = {what: drawings.codes(what, values[what]) for what in attributes}
    allowed = {what: style_masks(drawings.classes, values[what]) for what in attributes}
    if name == "eyes":
        rows = rows[codes["eyes"][rows] >= 0]
    optimizer = torch.optim.AdamW(reader.parameters(), lr=RATE, weight_decay=DECAY)
    masks, shares = training_masks(name)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / WARM_UP) * (1 - step / steps)
        chosen = rows[torch.randint(len(rows), (BATCH,))]
        mask = masks[torch.multinomial(shares, BATCH, replacement=True)]
        logits = reader(masked(augmented_view(name, drawings.images[chosen]), mask))
        style, *parts = logits.split([num_styles, *sizes], dim=1)
        styles = drawings.styles[chosen]
        loss = F.cross_entropy(style, styles) if num_styles else torch.zeros(())
        for what, part in zip(attributes, parts, strict=True):
            code = codes[what][chosen]
            only = part.masked_fill(~allowed[what][styles], -1e4)
            loss = loss + F.cross_entropy(only, code, ignore_index=-1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % 100 == 0:
            print(f"{name}: step {step + 1:,} of {steps:,}, loss {loss.item():.3f}", flush=True)
    return reader.eval()


def training_masks(name: str) -> tuple[Tensor, Tensor]:
    """Return masks of many pieces (M, 1, 32, 32), and how often each is drawn (M,)."""
    cuts = range(18, 47, 2) if name == "colors" else range(24, 43, 2)
    pieces = [(WHOLE, 2.0)] + [(Piece(side, c), 0.5) for side in SIDES["hair"] for c in cuts]
    if name == "colors":
        pieces += [(Piece(side, c), 0.35) for side in SIDES["neck"] for c in range(34, 59, 2)]
    masks = torch.stack([piece.mask().float() for piece, _ in pieces])[:, None]
    return view_of(name, masks), torch.tensor([share for _, share in pieces])


def augmented_view(name: str, images: Tensor) -> Tensor:
    """Return what a network sees of images, shifted, some of them blurred, with noise."""
    left, top = torch.randint(0, 5, (2,)).tolist()
    rows, columns = ((torch.arange(SIZE) + shift - 2).clamp(0, SIZE - 1) for shift in (top, left))
    shifted = images[:, rows][:, :, columns].permute(0, 3, 1, 2)
    view = view_of(name, shifted.float() / 127.5 - 1)
    if name == "colors" and torch.rand(()) < 0.25:  # as from 32 x 32
        small = F.avg_pool2d(view, 2)
        view = F.interpolate(small, view.shape[2:], mode="bilinear")
    return view + torch.randn_like(view) * 0.06 * torch.rand(len(view), 1, 1, 1)


def style_masks(styles: tuple[str, ...], values: tuple[Value, ...]) -> Tensor:
    """Return which values a style has: bool (styles, values)."""
    return torch.tensor([[value.style == style for value in values] for style in styles])


@torch.no_grad()
def accuracies(
    readers: dict[str, PieceReader], drawings: Drawings, values: dict[What, tuple[Value, ...]],
    rows: Tensor,
) -> dict[tuple[What, str, Piece], float]:  # fmt: skip
    """Return how often each attribute of each style is read correctly in each piece."""
    found: dict[tuple[What, str, Piece], float] = {}
    x = drawings.images[rows].permute(0, 3, 1, 2).float() / 127.5 - 1
    styles = drawings.styles[rows]
    for name, reader in readers.items():
        view, attributes = view_of(name, x), heads(name, values)
        sizes = [len(values[what]) for what in attributes]
        for piece in sorted({p for kind in KINDS if READ[kind] in attributes for p in grid(kind)}):
            mask = view_of(name, piece.mask().float()[None, None])
            logits = torch.cat([reader(masked(part, mask)) for part in view.split(500)])
            parts = logits[:, logits.shape[1] - sum(sizes) :].split(sizes, dim=1)
            for what, part in zip(attributes, parts, strict=True):
                allowed = style_masks(drawings.classes, values[what])[styles]
                right = part.masked_fill(~allowed, -1e4).argmax(1)
                right = right == drawings.codes(what, values[what])[rows]
                for label, style in enumerate(drawings.classes):
                    if allowed[styles == label].any():
                        found[what, style, piece] = right[styles == label].float().mean().item()
    return found


def grid(kind: Kind) -> Iterator[Piece]:
    for side, cut in itertools.product(SIDES[kind], CUTS[kind]):
        yield Piece(side, cut)


def choose_pairs(
    found: dict[tuple[What, str, Piece], float], styles: tuple[str, ...]
) -> Iterator[Pair]:
    """Yield the best pair of each kind, style and distance, if both pieces are readable."""
    for kind, style in itertools.product(KINDS, styles):
        what, (first, second) = READ[kind], SIDES[kind]
        if (what, style, Piece(first, CUTS[kind][0])) not in found:
            continue
        for distance in DISTANCES[kind]:
            tried = []
            for cut in CUTS[kind]:
                if cut + distance in CUTS[kind]:
                    pieces = Piece(first, cut), Piece(second, cut + distance)
                    one, other = (found[what, style, piece] for piece in pieces)
                    tried.append((min(one, other), (cut, cut + distance), (one, other)))
            best = max(tried)[0]
            print(f"{kind} in {style} at {distance}: {best:.3f}", flush=True)
            if best >= MIN_ACCURACY:
                good = [one for one in tried if one[0] >= max(best - TOLERANCE, MIN_ACCURACY)]
                _, cuts, accuracy = min(good, key=lambda one: abs(sum(one[1]) - 2 * MIDDLE[kind]))
                yield Pair(kind=kind, style=style, cuts=cuts, accuracy=accuracy)


def check(drawings: Drawings) -> None:
    """Print how well the shipped file reads other drawings, and how often their parts agree."""
    table, network = read_table(), open_network("avatar-parts")
    styles = drawings.styles.numpy()
    for size in (SIZE, SIZE // 2):
        images = F.avg_pool2d(drawings.images.permute(0, 3, 1, 2).float(), SIZE // size)
        logits = network(images.round().byte().permute(0, 2, 3, 1).contiguous())[0].numpy()
        right = (read_styles(logits, table) == styles).mean()
        print(f"{len(images):,} drawings of {size} x {size}, style read in {right:.4f} of them")
        print("kind, distance, style, accuracies, agreement, chance, agreement of two drawings")
        real = agreements(logits, table, styles)
        torn = agreements(torn_apart(logits, styles, table), table, styles)
        for pair in table.pairs:
            key = (pair.kind, pair.distance, pair.style)
            accuracy = [accuracy_of(drawings, logits, table, pair, piece) for piece in pair.pieces]
            print(*key, *numbers(*accuracy, real[key].rate, real[key].chance, torn[key].rate))
        torn_by_distance = by_distance(torn)
        for (kind, distance), one in by_distance(real).items():
            control = torn_by_distance[kind, distance].rate
            print(kind, distance, "all", *numbers(one.rate, one.chance, control), flush=True)


def numbers(*values: float) -> list[str]:
    return [f"{value:.3f}" for value in values]


def torn_apart(logits: Float32Array, styles: Int64Array, table: PartsTable) -> Float32Array:
    """Return logits of images that have the first pieces of one and the second of another."""
    other = np.arange(len(styles))
    for style in range(len(table.styles)):
        other[styles == style] = np.roll(other[styles == style], 1)
    torn = logits.copy()
    for _, piece, columns in table.columns():
        if piece.side in ("right", "below"):
            torn[:, columns] = logits[other][:, columns]
    return torn


def accuracy_of(
    drawings: Drawings, logits: Float32Array, table: PartsTable, pair: Pair, piece: Piece
) -> float:
    """Return how often a piece of a pair is read correctly."""
    rows = drawings.styles.numpy() == table.styles.index(pair.style)
    what = READ[pair.kind]
    columns = next(c for w, p, c in table.columns() if (w, p) == (what, piece))
    own = np.array([value.style == pair.style for value in table.values[what]])
    read = np.flatnonzero(own)[logits[rows][:, columns][:, own].argmax(1)]
    return float((read == drawings.codes(what, table.values[what]).numpy()[rows]).mean())


if __name__ == "__main__":
    main()
