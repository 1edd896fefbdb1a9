"""Labels as StyleGAN's tools write them: a dataset.json beside the images."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from sagan.data.sources.names import is_hidden, split_names, split_of
from sagan.data.sources.tree import ALL_SPLITS, DEFAULT_SPLIT, NO_LABEL, Arrangement, arrange
from sagan.errors import SaganError, UnreadableError, counted

DATASET_JSON = "dataset.json"

# The folder of each dataset.json ("" at the top), and a function that reads it.
LabelFiles = Mapping[str, Callable[[], bytes]]


def find_label_files(names: Iterable[str], read: Callable[[str], bytes], where: str) -> LabelFiles:
    """Return the dataset.json files among a source's files.

    Args:
        names: paths of all files with forward slashes, relative to the source's root.
        read: returns the content of one of them, or raises UnreadableError.
        where: the source's name in messages.
    """

    def read_or_refuse(name: str) -> bytes:
        try:
            return read(name)
        except UnreadableError as error:
            raise SaganError(f"cannot read '{name}' in '{where}': {error}") from None

    found = (name for name in sorted(names) if name.rpartition("/")[2] == DATASET_JSON)
    return {
        name.rpartition("/")[0]: partial(read_or_refuse, name)
        for name in found
        if not is_hidden(name)
    }


def arrange_source(
    names: Sequence[str], label_files: LabelFiles, split: str, where: str
) -> Arrangement:
    """Decide the meaning of a tree of images, by its dataset.json where there is one.

    The file may be at the top, or in a folder around everything, or in the folder of a split. It
    counts for the images in its folder and below.

    Args:
        names: paths of images with forward slashes, relative to the source's root.
        label_files: the dataset.json files; those in folders without images do not count.
        split: the one to arrange.
        where: the source's name in messages.

    Raises:
        SaganError: as `tree.arrange` and `arrange_by_json`, or several files contradict each other.
    """
    used = {
        folder: read
        for folder, read in label_files.items()
        if not folder or any(name.startswith(folder + "/") for name in names)
    }
    if "" in used or not used:
        arrangement = (
            arrange_by_json(names, used[""](), split, where)
            if used
            else arrange(names, split, where)
        )
        ignored = sorted(folder for folder in label_files if folder or not used)
        return replace(arrangement, notes=(*arrangement.notes, *_note_ignored(ignored)))

    by_split: dict[str | None, list[str]] = {}
    for folder in sorted(used):
        found = [split_of(part) for part in folder.split("/")]
        # "pets_train" alone may be the set's name; beside "pets_test" it is a split.
        plain = (m[0] for m in reversed(found) if m and (len(used) > 1 or not m[1]))
        meaning = next(plain, None)
        by_split.setdefault(meaning, []).append(folder)
    if (len(by_split) > 1 and None in by_split) or any(len(f) > 1 for f in by_split.values()):
        raise SaganError(
            f"'{where}' has several files {DATASET_JSON}, in {', '.join(map(repr, sorted(used)))}: "
            "point at one of these folders"
        )
    folders = {meaning: folder for meaning, (folder,) in by_split.items()}
    return _arrange_below(names, used, folders, split, where)


def _arrange_below(
    names: Sequence[str],
    label_files: LabelFiles,
    folders: Mapping[str | None, str],
    split: str,
    where: str,
) -> Arrangement:
    """Arrange the images of one of several splits, each with a dataset.json in its folder."""
    splits = tuple(sorted(name for name in folders if name is not None))
    asked = split_of(split)
    key: str | None = asked[0] if asked else split
    if None in folders and split in (DEFAULT_SPLIT, ALL_SPLITS):
        key = None
    if key not in folders:
        raise SaganError(
            f"no split '{split}' in '{where}': the files {DATASET_JSON} define "
            f"{', '.join(splits) or 'none'}"
        )
    inside = {meaning: _below(names, folder) for meaning, folder in folders.items()}
    numbering: tuple[str, ...] = ()
    if key != DEFAULT_SPLIT and DEFAULT_SPLIT in folders:
        numbering = _one(names, label_files, folders[DEFAULT_SPLIT], DEFAULT_SPLIT, where).classes
    arrangement = _one(names, label_files, folders[key], split, where, numbering)
    notes = [f"labels are read from '{folders[key]}/{DATASET_JSON}'", *arrangement.notes]
    if outside := sorted(set(range(len(names))).difference(*inside.values())):
        notes.append(
            counted(
                len(outside),
                f"picture is not below a {DATASET_JSON} and is left out, such as ",
                f"pictures are not below a {DATASET_JSON} and are left out, such as ",
            )
            + f"'{names[outside[0]]}'"
        )
    return replace(arrangement, splits=splits, notes=tuple(notes))


def _below(names: Sequence[str], folder: str) -> list[int]:
    return [index for index, name in enumerate(names) if name.startswith(folder + "/")]


def _one(
    names: Sequence[str],
    label_files: LabelFiles,
    folder: str,
    split: str,
    where: str,
    numbering: tuple[str, ...] = (),
) -> Arrangement:
    indices = _below(names, folder)
    relative = [names[index][len(folder) + 1 :] for index in indices]
    data = label_files[folder]()
    found = arrange_by_json(relative, data, DEFAULT_SPLIT, f"{where}/{folder}", numbering)
    return replace(found, files=tuple((indices[index], label) for index, label in found.files))


def _note_ignored(folders: Sequence[str]) -> Iterator[str]:
    if folders:
        where = f"'{folders[0]}/{DATASET_JSON}'" if folders[0] else f"'{DATASET_JSON}'"
        yield f"{where} is not used: the folder has no pictures, or another file counts"


def arrange_by_json(
    names: Sequence[str], data: bytes, split: str, where: str, numbering: tuple[str, ...] = ()
) -> Arrangement:
    """Decide the meaning of a tree of images that has its labels in a dataset.json.

    The file contains {"labels": [[name, label], ...]}, a mapping of the same, or {"labels": null},
    which means that there are no labels. Labels are whole numbers; the classes are those that
    occur, named by their numbers. A negative number means "without a label". Folders mean
    nothing.

    Args:
        names: paths of images with forward slashes, relative to the file's folder.
        data: the file's content.
        split: the one that the user asked for; there is only "train".
        where: the source's name in messages.
        numbering: classes that have their numbers from another split.

    Raises:
        SaganError: the file is damaged, has vectors for labels, gives an image two labels, or names
            none of the images; or another split is asked for.
    """
    if split not in (DEFAULT_SPLIT, ALL_SPLITS):
        raise SaganError(
            f"no split '{split}' in '{where}': its {DATASET_JSON} defines none; leave out --split"
        )
    listed = _labels(data, where)
    parts = list(split_names(names))
    order = sorted(range(len(names)), key=parts.__getitem__)
    if not listed:
        return Arrangement(tuple((index, NO_LABEL) for index in order), (), (), ())
    if listed.keys().isdisjoint(names):
        raise SaganError(f"the labels in {DATASET_JSON} of '{where}' name none of its pictures")

    labels = {name: label for name, label in listed.items() if label >= 0}
    found = {str(labels[name]) for name in names if name in labels}
    classes = numbering + tuple(sorted(found - set(numbering), key=int))
    label_of = {number: label for label, number in enumerate(classes)}
    files = tuple(
        (index, label_of[str(labels[names[index]])]) for index in order if names[index] in labels
    )
    if len(classes) < 2:
        everything = tuple((index, NO_LABEL) for index in order if names[index] in listed)
        note = f"{DATASET_JSON} gives all pictures one label: read as a set without labels"
        return Arrangement(everything, (), (), (*_note_missing(names, order, listed), note))
    return Arrangement(files, classes, (), tuple(_note_missing(names, order, labels)))


def _note_missing(
    names: Sequence[str], order: Sequence[int], labels: Mapping[str, int]
) -> Iterator[str]:
    if missing := [names[index] for index in order if names[index] not in labels]:
        yield (
            counted(
                len(missing),
                f"picture has no label in {DATASET_JSON} and is left out, ",
                f"pictures have no label in {DATASET_JSON} and are left out, ",
            )
            + f"such as '{missing[0]}'"
        )


def _labels(data: bytes, where: str) -> Mapping[str, int]:
    """Return the label of each name in the file.

    Objects are read as lists of pairs, so that a name that comes twice is seen.
    """
    try:
        labels = dict(json.loads(data, object_pairs_hook=list))["labels"]
        pairs = [(name, label) for name, label in labels] if labels is not None else []
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise SaganError(
            f"{DATASET_JSON} of '{where}' has no usable list of labels ({error})"
        ) from None
    found: dict[str, int] = {}
    for name, label in pairs:
        if type(label) is not int or not isinstance(name, str):
            raise SaganError(
                f"{DATASET_JSON} of '{where}' labels '{name}' with {str(label)[:40]}, but only "
                "whole numbers can be used; remove the file to train without labels"
            )
        plain = name.replace("\\", "/").removeprefix("./")
        if found.setdefault(plain, label) != label:
            raise SaganError(
                f"{DATASET_JSON} of '{where}' gives '{plain}' two labels, {found[plain]} and "
                f"{label}: keep one"
            )
    return found
