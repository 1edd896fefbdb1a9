// Copying the picture as PNG, and the view as a link.

import { withText } from "sagan/png_text.js";

/**
 * Copy a PNG with its credits, or save it as a file if the clipboard does not accept images.
 * Returns a message.
 */
export async function copyPng(picture, name, credits) {
  const promise = picture.then((png) => withText(png, credits));
  try {
    await navigator.clipboard.write([new ClipboardItem({ "image/png": promise })]);
    return "Picture copied";
  } catch {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await promise);
    link.download = `${name}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    return `Saved as ${link.download}`;
  }
}

/** Copy the URL of the view. Returns a message. */
export async function copyLink(url) {
  try {
    await navigator.clipboard.writeText(url);
    return "Link copied";
  } catch {
    return "Copy the link from the address bar";
  }
}
