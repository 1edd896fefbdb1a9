"""Errors of the hub and its library, as one line without secrets."""

import re

from sagan.errors import shorten

MAX_REASON = 200  # characters


def hub_reason(error: BaseException) -> str:
    """Return an error's message as part of a line.

    A server may repeat what it was sent, and an address may contain a password: tokens and
    passwords are left out.
    """
    from huggingface_hub import get_token

    if isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__  # of an upload, which says only which file
    text = " ".join(str(error).split()) or type(error).__name__
    if token := get_token():
        text = text.replace(token, "***")
    text = re.sub(r"\bhf_\w+", "hf_***", text)
    text = re.sub(r"//[^/@\s]+@", "//***@", text)
    return shorten(text, MAX_REASON)


def endpoint() -> str:
    """Return the address of the hub, without a password: huggingface.co's, or $HF_ENDPOINT."""
    from huggingface_hub import constants

    return re.sub(r"//[^/@\s]+@", "//", constants.ENDPOINT)
