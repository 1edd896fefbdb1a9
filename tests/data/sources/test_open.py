"""Folders and zips as streams of encoded images."""

import errno
import io
import os
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from sagan.data.sources.base import Source
from sagan.data.sources.open import open_source
from sagan.errors import SaganError, UnreadableError


def png(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (shade, shade, shade)).save(file, "PNG")
    return file.getvalue()


FILES = {f"{split}/{name}/{i}.png": png(10 * i) for split in ("train", "test")
         for name in ("cat", "dog") for i in range(3)}  # fmt: skip
CLUTTER = {".DS_Store": b"x", "__MACOSX/train/cat/._0.png": b"x", "train/cat/Thumbs.db": b"x"}


def write_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def content(source: Source) -> list[tuple[str, int, bytes]]:
    return [(image.name, image.label, image.read()) for image in source.images()]


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_folder_and_its_zip_are_the_same_source(tmp_path: Path, split: str) -> None:
    folder = open_source(str(write_folder(tmp_path / "set", FILES | CLUTTER)), split)
    backwards = dict(reversed((FILES | CLUTTER).items()))
    zipped = open_source(str(write_zip(tmp_path / "set.zip", backwards)), split)
    expected = [
        (f"{split}/{name}/{i}.png", label, png(10 * i))
        for label, name in enumerate(("cat", "dog"))
        for i in range(3)
    ]
    assert content(folder) == content(zipped) == expected
    assert folder.classes == zipped.classes == ("cat", "dog")
    assert folder.num_images == zipped.num_images == 6
    assert folder.notes == zipped.notes == ()


def test_a_zip_that_wraps_all_in_a_folder_is_read_through_it(tmp_path: Path) -> None:
    wrapped = {f"my-set-main/{name}": data for name, data in FILES.items()}
    assert open_source(str(write_zip(tmp_path / "x.zip", wrapped))).classes == ("cat", "dog")


def test_reading_a_zip_writes_nothing_and_never_leaves_the_archive(tmp_path: Path) -> None:
    unsafe = {"../evil.png": png(1), "/etc/evil.png": png(1), "a/../../evil.png": png(1)}
    path = write_zip(tmp_path / "x.zip", {"good.png": png(2), **unsafe})
    source = open_source(str(path))
    assert [name for name, _, _ in content(source)] == ["good.png"]
    assert source.notes[0].startswith("3 members whose names point out of the archive")
    assert list(tmp_path.iterdir()) == [path]


def test_zip_names_with_backslashes_are_folders(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"cat\\1.png": png(1), "dog\\1.png": png(2)})
    assert open_source(str(path)).classes == ("cat", "dog")


def test_a_damaged_zip_member_is_unreadable_but_its_neighbors_are_not(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a.png", png(1))
        archive.writestr("b.png", png(2))
    data = path.read_bytes()
    path.write_bytes(data.replace(png(1), png(1)[:-9] + b"?" * 9))
    first, second = open_source(str(path)).images()
    assert second.name == "b.png"
    with pytest.raises(UnreadableError, match="CRC"):
        content(open_source(str(path)))
    assert first.name == "a.png"


def test_a_zip_member_that_claims_to_be_huge_is_not_inflated(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    write_zip(path, {"bomb.png": bytes(257 * 1024**2)})
    with pytest.raises(UnreadableError, match="larger than 256 MiB"):
        next(iter(open_source(str(path)).images())).read()


def test_a_loop_of_links_ends_and_linked_folders_are_read(tmp_path: Path) -> None:
    elsewhere = write_folder(tmp_path / "elsewhere", {"1.png": png(1)})
    root = write_folder(tmp_path / "set", {"cat/1.png": png(2)})
    (root / "cat" / "loop").symlink_to(root, target_is_directory=True)
    (root / "dog").symlink_to(elsewhere, target_is_directory=True)
    assert [name for name, _, _ in content(open_source(str(root)))] == ["cat/1.png", "dog/1.png"]


def test_files_that_are_not_read_are_counted_by_extension(tmp_path: Path) -> None:
    files = {"a/1.png": png(1), "b/1.jfif": png(2), "a/x.NEF": b"x", "b/x.nef": b"x"}
    files |= {"a/x.tga": b"x", "b/x.jpg_large": b"x", "readme.txt": b"x", "LICENSE": b"x"}
    files |= {f"b/{n}": png(3) for n in range(5)}
    for source in (write_folder(tmp_path / "set", files), write_zip(tmp_path / "x.zip", files)):
        opened = open_source(str(source))
        assert opened.num_images == 2
        assert opened.notes == (
            "6 files without an extension are not read: call them .jpg or .png",
            "1 .jpg_large files are not read: convert them to .jpg or .png first",
            "2 .nef files are not read: convert them to .jpg or .png first",
            "1 .tga files are not read: convert them to .jpg or .png first",
        )


def test_a_link_to_a_folder_does_not_take_its_place(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "set", FILES)
    (root / "latest").symlink_to("train", target_is_directory=True)
    (root / "a-first").symlink_to("test", target_is_directory=True)
    source = open_source(str(root))
    assert [name for name, _, _ in content(source)] == [n for n in FILES if n.startswith("train")]
    assert source.classes == ("cat", "dog")
    for link, target in (("latest", "train"), ("a-first", "test")):
        assert f"'{root}/{link}' is the same folder as '{root}/{target}'" in source.notes


def test_a_split_may_be_a_link_to_another(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "set", FILES)
    (root / "val").symlink_to("test", target_is_directory=True)
    assert open_source(str(root), "val").num_images == 6
    assert open_source(str(root), "test").num_images == 6


def test_links_between_folders_do_not_multiply_without_end(tmp_path: Path) -> None:
    for n in range(12):
        folder = write_folder(tmp_path / str(n), {"x.png": png(n)})
        for link in range(3):
            (folder / f"link{link}").symlink_to(f"../{n + 1}", target_is_directory=True)
    num = open_source(str(tmp_path)).num_images
    assert num is not None
    assert num <= 12 * 8


SYSTEM_FOLDERS = ["$RECYCLE.BIN/S-1-5-21", "#recycle", "System Volume Information", "lost+found",
                  "__MACOSX", "@eaDir", ".Trash-1000", "found.000", "RECYCLER",
                  "cat/@eaDir", "$WinREAgent", "@SynoResource", ".ipynb_checkpoints", ".thumbnails",
                  "_gsdata_"]  # fmt: skip


@pytest.mark.parametrize("name", SYSTEM_FOLDERS)
def test_folders_of_systems_are_not_classes(tmp_path: Path, name: str) -> None:
    files = {"cat/1.png": png(1), "dog/1.png": png(2), f"{name}/3.png": png(3)}
    for source in (write_folder(tmp_path / "set", files), write_zip(tmp_path / "x.zip", files)):
        opened = open_source(str(source))
        assert opened.classes == ("cat", "dog")
        assert opened.num_images == 2
        assert opened.notes == ()


@pytest.mark.parametrize(
    "table",
    ["labels.csv", "metadata.jsonl", "list_attr_celeba.txt", "train.csv", "styles.csv", "y.xlsx",
     "_annotations.coco.json", "Annotations/1.xml", "labels/1.txt", "identity_CelebA.txt"],
)  # fmt: skip
def test_a_table_of_labels_beside_unlabeled_images_is_noted(tmp_path: Path, table: str) -> None:
    files = {"1.png": png(1), "2.png": png(2), table: b"x"}
    for source in (write_folder(tmp_path / "set", files), write_zip(tmp_path / "x.zip", files)):
        assert open_source(str(source)).notes == (
            f"'{table}' is not read: for labels, put the images into a folder for each class",
        )


def test_a_pipe_named_like_an_image_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a.png": png(1)})
    os.mkfifo(tmp_path / "b.png")
    with pytest.raises(UnreadableError, match="regular"):
        [image.read() for image in open_source(str(tmp_path)).images()]


def test_a_name_that_is_not_utf8_is_read_and_can_be_printed(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe caf\xe9.png")
    try:
        (tmp_path / name).write_bytes(png(1))
    except OSError as error:
        if error.errno != errno.EILSEQ:
            raise
        pytest.skip("this file system takes UTF-8 names only")
    ((shown, _, data),) = content(open_source(str(tmp_path)))
    assert data == png(1)
    assert shown.encode().decode() == shown


def test_the_listing_digest_changes_with_the_files_and_only_then(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "set", FILES)
    before = open_source(str(root)).listing_digest()
    assert open_source(str(root)).listing_digest() == before
    (root / "notes.txt").write_text("no picture")
    assert open_source(str(root)).listing_digest() == before
    assert open_source(str(root), "test").listing_digest() != before
    (root / "train/cat/9.png").write_bytes(png(9))
    added = open_source(str(root)).listing_digest()
    assert added != before
    os.utime(root / "train/cat/9.png", ns=(1, 1))
    assert open_source(str(root)).listing_digest() not in (before, added)


@pytest.mark.parametrize(
    ("name", "instead"),
    [("x.npz", "save its images as files"), ("x.h5", "save its images"), ("x.rar", "unpack it"),
     ("x.tar.gz", "unpack it"), ("x.png", "give the folder")],
)  # fmt: skip
def test_formats_that_are_not_read_are_refused_with_what_to_do(
    tmp_path: Path, name: str, instead: str
) -> None:
    if name == "x.npz":
        write_zip(tmp_path / name, {"arr_0.npy": b"x"})
    else:
        (tmp_path / name).write_bytes(png(1))
    with pytest.raises(SaganError, match=instead):
        open_source(str(tmp_path / name))


def test_anything_else_is_refused_in_one_line_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "broken.zip").write_bytes(write_zip(tmp_path / "x.zip", FILES).read_bytes()[:300])
    for name in ("missing", "empty", "text.txt", "broken.zip"):
        with pytest.raises(SaganError) as error:
            open_source(str(tmp_path / name))
        assert str(tmp_path / name) in str(error.value)
        assert "\n" not in str(error.value)
