"""Facts that the name of a file or folder shows, before anything is read."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from sagan.images.decode import IMAGE_EXTENSIONS
from sagan.images.heif import HEIF_EXTENSIONS
from sagan.runtime.extras import HEIC

Parts = tuple[str, ...]

# Folders of operating systems, disks and archivers, in lower case. Hidden folders are left out by
# their dot, so that .Trash-1000 and the like need no entry.
_SYSTEM_FOLDERS = frozenset(
    {"__macosx", "@eadir", "@tmp", "#recycle", "@recycle", "#snapshot", "@recently-snapshot",
     "$recycle.bin", "recycle.bin", "recycle bin", "recycler", "recycled", "$extend",
     "system volume information", "lost+found", "lost.dir", "network trash folder",
     "temporary items", "~snapshot", "@sharebin", "@synoresource", "$winreagent", "$sysreset",
     "$av_asw", "$windows.~bt", "$windows.~ws", "config.msi", "msdownld.tmp", "windowsimagebackup",
     "_gsdata_", "__pycache__", "node_modules"}
)  # fmt: skip
_RESCUED = re.compile(r"found\.\d{3}")  # what chkdsk leaves

# Files that usually lie beside images; all others are counted in a note.
_COMPANIONS = frozenset(
    {".txt", ".md", ".rst", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".html",
     ".htm", ".pdf", ".py", ".ipynb", ".m", ".sh", ".db", ".ini", ".log", ".lnk", ".url", ".zip",
     ".tar", ".gz", ".parquet", ".arrow", ".xls", ".xlsx", ".mat"}
)  # fmt: skip

# Tables, whatever they are called, and texts whose name or folder says that they have labels.
_LABEL_TABLE = re.compile(
    r"\.(csv|tsv|jsonl|xlsx?|parquet|mat)$"
    r"|(^|/)[^/]*(label|metadata|annotation|class|train|attr|target|identity|partition|instances|"
    r"caption|truth)[^/]*(/[^/]*)?\.(txt|json|xml)$",
    re.IGNORECASE,
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SPLIT_WORDS = {
    "train": "train", "training": "train", "trn": "train", "trainval": "train",
    "test": "test", "testing": "test", "tst": "test", "eval": "test", "evaluation": "test",
    "holdout": "test",
    "val": "val", "valid": "val", "validation": "val", "validate": "val", "dev": "val",
    "development": "val",
}  # fmt: skip
# Words that say nothing beyond "these are the data".
_EMPTY_WORDS = frozenset(
    {"set", "sets", "data", "dataset", "split", "folder", "dir", "files", "image", "images", "img",
     "imgs", "picture", "pictures", "photo", "photos", "jpeg", "jpg", "png"}
)  # fmt: skip
_PART = re.compile(r"(parts?|shards?|chunks?|batch|batches|pieces?|vol|volume)[-_ .]*\d+", re.I)
_NUMBER = re.compile(r"\d+")

_IMAGE_WORDS = frozenset(
    {"image", "images", "img", "imgs", "picture", "pictures", "photo", "photos", "input", "inputs",
     "rgb", "original", "originals", "frame", "frames"}
)  # fmt: skip
_MASK_WORDS = frozenset(
    {"mask", "masks", "gt", "groundtruth", "truth", "truths", "segmentation", "segmentations",
     "seg", "segs", "label", "labels", "annotation", "annotations", "trimap", "trimaps", "matte",
     "mattes", "labelmap", "labelmaps", "depth", "edge", "edges", "conditioning"}
)  # fmt: skip
# In files' names, such a word stands between other characters than letters.
_TARGET = (
    r"(?:mask|gt|(?:ground[-_ ]?)?truth|seg(?:mentation)?|label(?:map|Ids|TrainIds)?|instanceIds|"
    r"anno(?:tation)?|trimap|matte|alpha|depth|edge|superpixel)s?"
)
_BEFORE, _AFTER = r"(?:^|[-_. ])", r"(?=$|[-_. \d])"
_MASK_FILE = re.compile(rf"{_BEFORE}{_TARGET}{_AFTER}", re.IGNORECASE)
_MASK_NUMBER = re.compile(rf"({_BEFORE}{_TARGET})[-_. ]?\d+$", re.IGNORECASE)
_KIND_WORD = re.compile(
    rf"{_BEFORE}(?:{_TARGET}|image|img|picture|photo|rgb|class|object|instance|binary|color)"
    rf"{_AFTER}",
    re.IGNORECASE,
)
_MASK_DETAILS = frozenset({"ground", "class", "object", "instance", "binary", "fine", "coarse"})
# A folder called by such words alone has masks, whatever the folder of their images is called.
_SURE_MASK_WORDS = frozenset(
    {"gt", "groundtruth", "truth", "segmentation", "segmentations", "annotation", "annotations",
     "trimap", "trimaps", "matte", "mattes", "labelmap", "labelmaps"}
)  # fmt: skip


def is_image_name(name: str) -> bool:
    """Whether a path names an image, by its extension; hidden and system files do not count."""
    # Plain string operations: pathlib's would take a second per hundred thousand names.
    return name[name.rfind(".") :].lower() in IMAGE_EXTENSIONS and not is_hidden(name)


def is_system_folder(name: str) -> bool:
    """Whether a folder (its own name, not a path) belongs to a system rather than to a data set."""
    lower = name.lower()
    hidden = name.startswith(".") and name not in (".", "..")
    return hidden or lower in _SYSTEM_FOLDERS or _RESCUED.fullmatch(lower) is not None


def is_hidden(name: str) -> bool:
    """Whether a path is that of a hidden file, or lies in a hidden or a system folder."""
    folder, _, leaf = name.rpartition("/")
    return leaf.startswith(".") or _in_system_folder(folder)


@lru_cache(maxsize=4096)
def _in_system_folder(folder: str) -> bool:
    return any(map(is_system_folder, folder.split("/")))


def unread_note(names: Iterable[str]) -> Iterator[str]:
    """Yield a line for each kind of file that is not read, except those that lie beside images."""
    counts: Counter[str] = Counter()
    for name in names:
        suffix = _suffix(name)
        if suffix not in IMAGE_EXTENSIONS and suffix not in _COMPANIONS and not is_hidden(name):
            counts[suffix] += 1
    for suffix, number in sorted(counts.items()):
        if suffix:
            cure = (
                HEIC.command if suffix in HEIF_EXTENSIONS else "convert them to .jpg or .png first"
            )
            yield f"{number:,} {suffix} files are not read: {cure}"
        elif number >= 5:  # a README or a LICENSE is not worth a line
            yield f"{number:,} files without an extension are not read: call them .jpg or .png"


def label_tables_note(names: Iterable[str]) -> Iterator[str]:
    """Yield a line for a table of labels beside images that have none; call it only for such."""
    found = min((n for n in names if _LABEL_TABLE.search(n) and not is_hidden(n)), default=None)
    if found:
        yield f"'{found}' is not read: for labels, put the images into a folder for each class"


def _suffix(name: str) -> str:
    leaf = name[name.rfind("/") + 1 :]
    dot = leaf.rfind(".")
    return leaf[dot:].lower() if dot > 0 else ""


def split_names(names: Iterable[str]) -> Iterator[Parts]:
    """Split paths at their slashes; paths in the same folder share its parts in memory.

    Folders are composed (Unicode NFC): macOS decomposes names, and a class that was copied from two
    systems is still one class.
    """
    folders: dict[str, Parts] = {"": ()}
    for name in names:
        folder, _, leaf = name.rpartition("/")
        if folder not in folders:
            composed = unicodedata.normalize("NFC", folder)
            folders[folder] = tuple(part for part in composed.split("/") if part not in ("", "."))
        yield (*folders[folder], leaf)


def printable_name(name: str) -> str:
    """Return a file's name in a form that can be printed and saved, even if it is not UTF-8."""
    return name.encode("utf-8", "backslashreplace").decode()


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]


@lru_cache(maxsize=4096)
def split_of(folder: str) -> tuple[str, Parts] | None:
    """Return the split that a folder's name means, and what else the name says; None if none.

    "Training Set" means ("train", ()), "DIV2K_valid_HR" ("val", ("div", "2", "k", "hr")).
    """
    splits, rest = [], []
    words = _words(folder)
    for word in words[1:] if words[:1] and words[0].isdecimal() else words:  # "01 Training"
        # "trainset" and "testdata" are one word.
        plain = re.sub(r"(sets?|data|images?|imgs)$", "", word)
        if split := _SPLIT_WORDS.get(word) or _SPLIT_WORDS.get(plain):
            splits.append(split)
        elif word not in _EMPTY_WORDS:
            rest.append(word)
    if splits == ["train", "val"]:  # train_val, a training set that includes the other
        del splits[1]
    return (splits[0], tuple(rest)) if len(splits) == 1 else None


def names_images(name: str) -> bool:
    """Whether a name has a word for images in it, and none for masks."""
    return not _IMAGE_WORDS.isdisjoint(_words(name)) and not names_masks(name)


def names_masks(name: str) -> bool:
    """Whether a name has a word for masks or other targets in it."""
    return not _MASK_WORDS.isdisjoint(_words(name))


def masks_of(folders: Iterable[str]) -> set[str]:
    """Return those of the folders that have masks or other targets for the images of another.

    A folder of masks has a partner with the same name but for words such as "images" and "masks":
    `images/` and `masks/`, `train/` and `train_masks/`. Words such as "segmentations" and "gt" need
    no partner, as in Cityscapes' `leftImg8bit/` and `gtFine/`.
    """
    images, masks, sure = set(), {}, set()
    all_folders = set(folders)
    for folder in all_folders:
        words = _words(folder)
        rest = tuple(w for w in words if w not in _MASK_WORDS | _IMAGE_WORDS | _EMPTY_WORDS)
        if (telling := set(words) - _MASK_DETAILS) and telling <= _SURE_MASK_WORDS:
            sure.add(folder)
        elif names_masks(folder):
            masks[folder] = tuple(word for word in rest if word not in _MASK_DETAILS)
        elif rest or not _IMAGE_WORDS.isdisjoint(words):
            images.add(rest)
    found = {folder for folder, rest in masks.items() if rest in images}
    return found | sure if all_folders - sure else found


def mask_files(leaves: Sequence[str]) -> set[str]:
    """Return those of a folder's images that are masks or other targets of others in it.

    They are called as their image is but for such a word: `x_mask.png` beside `x.jpg`, `x_gt_1.png`
    beside `x.png`, `mask_7.png` beside `image_7.png`. Where most files with such a word have no
    image beside them, the word means something else.
    """
    named = [leaf for leaf in leaves if _MASK_FILE.search(_stem(leaf))]
    if not named:
        return set()
    targets = set(named)
    images = {_subject(leaf) for leaf in leaves if leaf not in targets}
    if images != {""}:  # image.png and mask.png alone in a folder
        images.discard("")
    # A number after the word counts the masks of one image.
    masks = {leaf for leaf in named if not images.isdisjoint(map(_subject, _numbering(leaf)))}
    return masks if 2 * len(masks) >= len(named) else set()


def _numbering(leaf: str) -> tuple[str, str]:
    """Return a mask's name, and the same without a number after the word for masks."""
    return leaf, _MASK_NUMBER.sub(r"\1", _stem(leaf)) + "."


def _stem(leaf: str) -> str:
    return leaf[: leaf.rfind(".")]


def _subject(leaf: str) -> str:
    """Return what a file shows: its name without words for images and masks."""
    return _KIND_WORD.sub("", _stem(leaf)).strip("_-. ").lower()


def are_parts(leaves: Mapping[str, Sequence[str]]) -> bool:
    """Whether folders only divide a large set into parts of convenient size.

    They do if they are called "part1", "shard-002" and the like, or by numbers of five digits or
    more where all are thousands (as in FFHQ: 00000, 01000) or the numbers in the names of their
    files run on from folder to folder.

    Args:
        leaves: names of files by folder.
    """
    if all(map(_PART.fullmatch, leaves)):
        return True
    if not all(len(folder) >= 5 and folder.isdecimal() for folder in leaves):
        return False
    if all(int(folder) % 1000 == 0 for folder in leaves):
        return True
    end = -1
    for _, files in sorted(leaves.items()):
        numbers = [int(found[-1]) for file in files if (found := _NUMBER.findall(file))]
        if len(set(numbers)) < len(files) or min(numbers) <= end:
            return False
        end = max(numbers)
    return True
