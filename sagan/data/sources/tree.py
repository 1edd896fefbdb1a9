"""The meaning of a tree of image files: which are used, and which class each belongs to.

Pure functions on names, shared by every source that has names, such as folders and zips.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sagan.data.sources.names import (
    Parts,
    are_parts,
    mask_files,
    masks_of,
    split_names,
    split_of,
)
from sagan.errors import SaganError, counted
from sagan.images.decode import IMAGE_EXTENSIONS

# The split of everything in a source without splits, and the one that numbers the classes.
DEFAULT_SPLIT = "train"
# All splits together.
ALL_SPLITS = "all"
NO_LABEL = -1
# One image at the top for this many in folders is a stray one.
_FEW = 10


@dataclass(frozen=True)
class Arrangement:
    """The images of one split, in the order in which they are packed.

    Attributes:
        files: for each, its index in the given names, and its label in 0..K-1 (NO_LABEL for all
            images of a split without labels).
        classes: K names, empty without labels.
        splits: the splits of the source, empty if it has none.
        notes: one line for each decision that could have been meant differently.
    """

    files: tuple[tuple[int, int], ...]
    classes: tuple[str, ...]
    splits: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass
class _Tree:
    """The files below one folder.

    Attributes:
        files: index and name of each, by the folder they are in (relative to this one). There are
            few folders, so that going through all of them costs little.
        notes: as in `Arrangement`.
    """

    files: dict[Parts, list[tuple[int, str]]]
    notes: list[str] = field(default_factory=list)

    def folders(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for folder, files in self.files.items():
            if folder:
                counts[folder[0]] += len(files)
        return counts

    def loose(self) -> list[tuple[int, str]]:
        return self.files.get((), [])

    def leaves(self) -> dict[str, list[str]]:
        """Return the names of the files below each folder."""
        leaves: dict[str, list[str]] = {}
        for folder, files in self.files.items():
            if folder:
                leaves.setdefault(folder[0], []).extend(leaf for _, leaf in files)
        return leaves

    def below(self, folders: set[str]) -> "_Tree":
        inner: dict[Parts, list[tuple[int, str]]] = {}
        for folder, files in self.files.items():
            if folder and folder[0] in folders:
                inner.setdefault(folder[1:], []).extend(files)
        return _Tree(inner)


def arrange(names: Sequence[str], split: str, where: str) -> Arrangement:
    """Decide the meaning of a tree of images.

    A folder that contains everything else is skipped, folders of masks beside their images are left
    out, and numbered parts of a set are one folder. Then, if all folders (or two or more) are named
    as splits, they are splits, called train, test and val whatever their spelling; otherwise the
    whole tree is one split. Within a split, two or more sub-folders are classes, numbered in the
    order of their names; all splits number classes as "train" does, so that a label means the same
    in each. The split "all" is all of them together.

    Args:
        names: paths of images with forward slashes, relative to the source's root.
        split: the one to arrange.
        where: the source's name in messages.

    Raises:
        SaganError: there are no images, or the split does not exist.
    """
    if not names:
        raise SaganError(
            f"no pictures in '{where}': searched for {', '.join(sorted(IMAGE_EXTENSIONS))} files"
        )
    tree = _without_mask_files(_without_masks(_tree(names)))
    tree = _unwrap(tree, keep=lambda folder: split_of(folder) is not None)
    tree = _splits_first(tree)
    splits = _splits(tree, split)
    if not splits:
        known = (DEFAULT_SPLIT, ALL_SPLITS)
        _require_split(split, known, where, "it has no train and test folders; leave out --split")
        return _arranged(tree, (), ())

    split = _asked(split, splits)
    _require_split(
        split,
        (*splits, ALL_SPLITS),
        where,
        f"it has {', '.join(splits)}; choose one with --split, or {ALL_SPLITS}",
    )
    chosen = _unwrapped_split(tree, splits, split)
    chosen.notes[:0] = tree.notes
    _note_left_out(tree, set().union(*splits.values()), chosen.notes)
    numbering = _numbering(tree, splits, split)
    if numbering and not _is_labeled(chosen, numbering):
        chosen.notes.append(
            f"'{split}' has no class folders, as '{DEFAULT_SPLIT}' has: "
            "read as a set without labels"
        )
    return _arranged(chosen, numbering, tuple(splits))


def _tree(names: Sequence[str]) -> _Tree:
    tree = _Tree({})
    for index, (*folder, leaf) in enumerate(split_names(names)):
        tree.files.setdefault(tuple(folder), []).append((index, leaf))
    return tree


def _require_split(split: str, splits: tuple[str, ...], where: str, has: str) -> None:
    if split not in splits:
        raise SaganError(f"no split '{split}' in '{where}': {has}")


def _without_masks(tree: _Tree) -> _Tree:
    """Leave out folders with masks for the images in a folder beside them, at any depth."""
    children: dict[Parts, set[str]] = {}
    for folder in tree.files:
        for depth, name in enumerate(folder):
            children.setdefault(folder[:depth], set()).add(name)
    masks = {(*parent, name) for parent, names in children.items() for name in masks_of(names)}
    if not masks:
        return tree
    kept, num = {}, 0
    for folder, files in tree.files.items():
        if any(folder[:depth] in masks for depth in range(1, len(folder) + 1)):
            num += len(files)
        else:
            kept[folder] = files
    shown = "/".join(min(masks))
    one = f"picture in '{shown}' is a mask"
    many = f"pictures in '{shown}' and the like are masks"
    note = f"{counted(num, one, many)} of those beside it: left out"
    return _Tree(kept, [note])


def _without_mask_files(tree: _Tree) -> _Tree:
    """Leave out masks that lie beside their images, in any folder."""
    kept, shown, num = {}, "", 0
    for folder, files in sorted(tree.files.items()):
        masks = mask_files([leaf for _, leaf in files])
        kept[folder] = [(index, leaf) for index, leaf in files if leaf not in masks]
        num += len(files) - len(kept[folder])
        shown = shown or (masks and "/".join((*folder, min(masks)))) or ""
    if not num:
        return tree
    one, many = f"picture, '{shown}', is a mask", f"pictures such as '{shown}' are masks"
    note = f"{counted(num, one, many)} of those beside them: left out"
    return _Tree(kept, [*tree.notes, note])


def _unwrap(tree: _Tree, keep: Callable[[str], bool]) -> _Tree:
    """Enter a folder that contains everything else, again and again, until `keep(name)` is true."""
    while folders := (tree := _without_strays(tree)).folders():
        if tree.loose():
            break
        if any(map(keep, folders)):
            break
        if len(folders) > 1:
            if not are_parts(tree.leaves()):
                break
            first, last = min(folders), max(folders)
            notes = [
                *tree.notes,
                f"'{first}' to '{last}' are read as parts of one set, not classes",
            ]
            tree = tree.below(set(folders))
            tree.notes = notes
            continue
        (folder,) = folders
        inner = tree.below({folder})
        # Zips often have one folder around everything, and a single class is not worth a label:
        # either way, go inside. Tell the user only if the folder could have been meant as a class.
        inner.notes = tree.notes if inner.folders() else [*tree.notes, _one_folder(folder)]
        tree = inner
    return tree


def _without_strays(tree: _Tree) -> _Tree:
    """Leave out a few images, such as a logo, beside the one folder with the folders of a set."""
    loose, folders = tree.loose(), tree.folders()
    if not loose or len(folders) != 1 or len(loose) * _FEW > folders.total():
        return tree
    inner = tree.below(set(folders))
    if inner.loose() or len(inner.folders()) < 2:
        return tree
    (folder,) = folders
    note = (
        f"{counted(len(loose), 'picture', 'pictures')} beside the folder '{folder}' left out, "
        f"such as '{min(leaf for _, leaf in loose)}'"
    )
    return _Tree(
        {parts: files for parts, files in tree.files.items() if parts}, [*tree.notes, note]
    )


def _one_folder(folder: str) -> str:
    return f"all pictures are in one folder, '{folder}': read as one set without labels"


def _splits_first(tree: _Tree) -> _Tree:
    """Bring `cat/train/`, `cat/test/`, `dog/train/` ... into the order of `train/cat/` ..."""
    inside: dict[str, set[str]] = {}
    for folder in tree.files:
        inside.setdefault(folder[0] if folder else "", set()).add("".join(folder[1:2]))
    meanings = [
        {found[0] for name in names if (found := split_of(name)) and not found[1]}
        for names in inside.values()
    ]
    if len(inside) < 2 or any("" in names for names in inside.values()):
        return tree
    if not all(meanings) or len(set().union(*meanings)) < 2 or any(map(split_of, inside)):
        return tree
    swapped = {(folder[1], folder[0], *folder[2:]): files for folder, files in tree.files.items()}
    first = min(inside)
    note = f"splits are read from the folders inside '{first}' and the like, which are the classes"
    return _Tree(swapped, [*tree.notes, note])


def _splits(tree: _Tree, asked: str) -> dict[str, set[str]]:
    """Return the folders of each split, by its name; empty if there are no splits here.

    Args:
        tree: the folders.
        asked: the split that the user asked for.
    """
    folders = sorted(tree.folders(), key=str.lower)
    found = {folder: meaning for folder in folders if (meaning := split_of(folder))}
    # A name that says more than "train" means a split only beside another that says the same more:
    # "birds_train" beside "birds_test", but not "bullet_train" beside "crash_test".
    meanings: dict[Parts, set[str]] = {}
    for split, rest in found.values():
        meanings.setdefault(rest, set()).add(split)
    named = {f: split for f, (split, rest) in found.items() if not rest or len(meanings[rest]) > 1}

    alike = _same_inside(tree)
    if alike and (named or _key(asked) in map(_key, folders)):
        return _named_apart({folder: named.get(folder, _key(folder)) for folder in folders})
    if alike:
        tree.notes.append(
            f"the folders {_listed(folders)} all have the same sub-folders, {_listed(alike)}, and "
            f"are read as classes; if they are splits, choose one with --split {folders[0]}"
        )
    if len(named) == 1 and len(folders) > 1:
        # A train among cars and buses, not the split.
        (folder,) = named
        tree.notes.append(
            f"'{folder}' is read as a class, because there are other folders beside it"
        )
        return {}
    return _named_apart(named)


def _named_apart(splits: Mapping[str, str]) -> dict[str, set[str]]:
    """Return the folders of each split, where several with one meaning keep their own names."""
    spellings: dict[str, set[str]] = {}
    for folder, split in splits.items():
        spellings.setdefault(split, set()).add(_key(folder))
    named: dict[str, set[str]] = {}
    for folder, split in splits.items():
        # Case does not count in names of splits: "Train" is train, but "Cat" is not "cat".
        name = split if len(spellings[split]) == 1 else _key(folder)
        named.setdefault(name, set()).add(folder)
    return dict(sorted(named.items()))


def _key(folder: str) -> str:
    return folder.lower()


def _asked(split: str, splits: Mapping[str, set[str]]) -> str:
    """Return the name of the split that the user means, under any of its spellings."""
    if split in splits or split == ALL_SPLITS:
        return split
    if _key(split) in splits:
        return _key(split)
    meaning = split_of(split)
    return meaning[0] if meaning and meaning[0] in splits else split


def _same_inside(tree: _Tree) -> list[str]:
    """Return the sub-folders that all folders have, if these are all they have, and several."""
    inside: dict[str, set[str]] = {}
    for folder in tree.files:
        if folder:
            inside.setdefault(folder[0], set()).update(folder[1:2] or ("",))
    different = set(map(frozenset, inside.values()))
    if len(inside) < 2 or len(different) > 1 or tree.loose():
        return []
    (same,) = different
    return sorted(same) if len(same) > 1 and "" not in same else []


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:3]) + (" ..." if len(names) > 3 else "")


def _unwrapped_split(tree: _Tree, splits: dict[str, set[str]], split: str) -> _Tree:
    # A test split with images of only one class must keep that class's number.
    numbering = _numbering(tree, splits, split)
    folders = set().union(*splits.values()) if split == ALL_SPLITS else splits[split]
    return _unwrap(tree.below(folders), keep=lambda folder: folder in numbering)


def _numbering(tree: _Tree, splits: dict[str, set[str]], split: str) -> tuple[str, ...]:
    """Return the classes that have their numbers from the train split, if `split` is another."""
    if split == DEFAULT_SPLIT or DEFAULT_SPLIT not in splits:
        return ()
    return _classes(_unwrapped_split(tree, splits, DEFAULT_SPLIT), ())


def _note_left_out(tree: _Tree, used: set[str], notes: list[str]) -> None:
    outside = [
        "/".join((*folder, leaf))
        for folder, files in tree.files.items()
        if not folder or folder[0] not in used
        for _, leaf in files
    ]
    if outside:
        notes.append(
            f"{counted(len(outside), 'picture', 'pictures')} outside the splits' folders left out, "
            f"such as '{min(outside)}'"
        )


def _is_labeled(tree: _Tree, numbering: tuple[str, ...]) -> bool:
    """Whether there are two or more class folders (or known ones), with most of the images."""
    folders = tree.folders()
    enough = len(folders) > 1 or bool(folders.keys() & set(numbering))
    return enough and folders.total() >= len(tree.loose())


def _classes(tree: _Tree, numbering: tuple[str, ...]) -> tuple[str, ...]:
    """Return the given classes, then those that only `tree` has, in the order of their names."""
    if not _is_labeled(tree, numbering):
        return ()
    return numbering + tuple(sorted(tree.folders().keys() - set(numbering)))


def _arranged(tree: _Tree, numbering: tuple[str, ...], splits: tuple[str, ...]) -> Arrangement:
    ordered = sorted(
        ((*folder, leaf), index) for folder, files in tree.files.items() for index, leaf in files
    )
    loose, folders, notes = tree.loose(), tree.folders(), list(tree.notes)
    classes = _classes(tree, numbering)
    if not classes:
        if folders and loose:
            notes.append(
                counted(len(loose), "picture is", "pictures are")
                + f" at the top and {folders.total()} in "
                + counted(len(folders), "sub-folder", "sub-folders")
                + ": read as one set without labels"
            )
        files = tuple((index, NO_LABEL) for _, index in ordered)
        return Arrangement(files, (), splits, tuple(notes))

    if loose:
        notes.append(
            f"{counted(len(loose), 'picture', 'pictures')} without a label, beside the class "
            f"folders, left out, such as '{loose[0][1]}'"
        )
    if unknown := sorted(folders.keys() - set(numbering)) if numbering else []:
        notes.append(f"classes that the train split does not have: {', '.join(unknown)}")
    labels = {name: label for label, name in enumerate(classes)}
    files = tuple((index, labels[parts[0]]) for parts, index in ordered if len(parts) > 1)
    return Arrangement(files, classes, splits, tuple(notes))
