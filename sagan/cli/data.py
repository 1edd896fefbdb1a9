"""`sagan data info` and `sagan data pack`."""

from pathlib import Path
from typing import Annotated

import typer

from sagan.cli.console import open_console, say, show
from sagan.cli.options import SourceArgument, Split
from sagan.errors import SaganError, counted


def data_info(
    source: SourceArgument,
    split: Annotated[
        str | None,
        typer.Option(
            help="Split to read; all reads every split of a folder, zip or CIFAR. By default it is "
            "train, or the one that a packed set has."
        ),
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Contact sheet of some images to write.")
    ] = None,
) -> None:
    """Count, measure and check the images of a data set, and suggest how to train on it.

    Example: [bold]sagan data info photos/ --sheet photos.png[/]
    """
    from sagan.data import describe
    from sagan.data.contact_sheet import check_contact_sheet, write_contact_sheet
    from sagan.display import PackingProgress
    from sagan.summary import dataset_lines

    if sheet is not None:
        check_contact_sheet(sheet)
    with PackingProgress(open_console(), "reading, then comparing") as progress:
        info = describe(source, split=split, thumbnails=sheet is not None, progress=progress)
    show(dataset_lines(info))
    if sheet is not None:
        write_contact_sheet(info.thumbnails, sheet, info.credits)
        say(f"wrote {sheet}")


def data_pack(
    source: SourceArgument,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    size: Annotated[
        str, typer.Option(metavar="N|WxH", help="Side of the images in pixels, or 96x64.")
    ],
    split: Split = "train",
    fit: Annotated[
        str, typer.Option(help="How images get their shape: crop, pad or stretch.")
    ] = "crop",
    colors: Annotated[
        str, typer.Option(help="rgb, gray, or rgba, which keeps transparency.")
    ] = "rgb",
    max_unreadable: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Stop if a larger share of the files is unreadable."),
    ] = 0.1,
    shards: Annotated[
        bool,
        typer.Option(
            "--shards", help="Write shards of 64 MB, which training can also read from a URL."
        ),
    ] = False,
    shard_mb: Annotated[
        float | None,
        typer.Option(min=0.001, max=1e6, metavar="N", help="Write shards of about N MB."),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            metavar="K/N",
            help="With --shards: do part K of N on this host; the one that comes last completes "
            "the set.",
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="With --part: wait for the others, and help them.")
    ] = False,
) -> None:
    """Decode and resize a data set once, into a folder that training reads directly.

    If interrupted, it leaves nothing at OUT; run the same command again to start over.
    With --part, it leaves what is done in OUT.parts, and the same command resumes.

    Example: [bold]sagan data pack photos/ photos-64 --size 64[/]
    """
    from sagan.data import open_source, pack
    from sagan.data.packed import is_packed, read_manifest
    from sagan.data.parts import Part, pack_part
    from sagan.data.shards.layout import SHARD_BYTES
    from sagan.display import PackingProgress
    from sagan.summary import credit_lines

    shard_bytes = SHARD_BYTES if shards else None
    if shard_mb is not None:
        shard_bytes = round(shard_mb * 1e6)
    if part is None and wait:
        raise SaganError("--wait is for several hosts: give this one's part with --part K/N")

    done = f"wrote {out}"
    if part is not None and is_packed(out):
        done = f"{out} was there already"
    with PackingProgress(open_console(), "packing") as progress:
        opened = open_source(source, split)
        if part is None:
            dataset = pack(
                opened, out, size, fit=fit, colors=colors, max_unreadable=max_unreadable,
                shard_bytes=shard_bytes, progress=progress,
            )  # fmt: skip
        elif shard_bytes is None:
            raise SaganError("--part writes shards: add --shards, or --shard-mb N")
        else:
            made = pack_part(
                opened, out, size, Part.parse(part), fit=fit, colors=colors,
                max_unreadable=max_unreadable, shard_bytes=shard_bytes, wait=wait, notify=say,
                progress=progress,
            )  # fmt: skip
            if made is None:
                return
            dataset = made
    manifest = read_manifest(out)
    show((*manifest.notes, *manifest.findings(), *credit_lines(manifest.credits)))
    files = f" in {len(manifest.shards.checksums):,} shards" if manifest.shards is not None else ""
    say(f"{done}: {counted(len(dataset), 'picture', 'pictures')} of {dataset.shape}{files}")
