"""Credits: who made the pictures behind an image, as text that travels inside the image's file."""

from typing import Any
from xml.sax.saxutils import escape

from PIL.PngImagePlugin import PngInfo

from sagan.errors import printable

PNG_KEYWORD = "Copyright"  # of the PNG specification, 11.3.3.2
# The XMP specification, part 1, 8.4: EXIF's field for it has no letters beyond ASCII.
_XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">{}</rdf:li></rdf:Alt></dc:rights>
</rdf:Description></rdf:RDF></x:xmpmeta>"""
MAX_CREDITS = 20_000  # characters: they go into every file, and may come from anyone


def checked_credits(value: object) -> str:
    """Return credits from a file as text that is safe to print and to save.

    Lines are kept. Control characters are replaced, blank lines and everything beyond
    `MAX_CREDITS` characters left out. Anything but a string gives "", which means no credits.
    """
    if not isinstance(value, str):
        return ""
    lines = (printable(line).strip() for line in value[:MAX_CREDITS].splitlines())
    return "\n".join(filter(None, lines))


def joined_credits(*credits: str) -> str:
    """Return several credits as one, each line once: those of a model and of its new data."""
    lines = [line for text in credits for line in text.splitlines()]
    return "\n".join(dict.fromkeys(lines))


def short_credits(credits: str, rest: str) -> str:
    """Return credits in one line: the first, and how many more there are.

    Args:
        credits: the lines.
        rest: where to find the others, such as "in the file's metadata".
    """
    first, *others = credits.splitlines() or [""]
    lines = f"{len(others)} more line{'s' if others[1:] else ''}"
    return f"{first} (and {lines} {rest})" if others else first


def credit_options(extension: str, credits: str) -> dict[str, Any]:
    """Return Pillow's options that save credits in a file.

    Args:
        extension: ".png", ".gif" or ".webp"; it decides where credits go: into a text chunk, a
            comment or XMP.
        credits: the text; "" saves none.
    """
    if not credits:
        return {}
    if extension == ".gif":
        return {"comment": credits.encode()}
    if extension == ".webp":
        return {"xmp": _XMP.format(escape(credits)).encode()}
    chunks = PngInfo()
    chunks.add_text(PNG_KEYWORD, credits)  # UTF-8 where Latin-1 is not enough
    return {"pnginfo": chunks}
