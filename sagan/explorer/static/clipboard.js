// Taking something along: the picture as PNG, the view as a link.

/** Copy a PNG; save it as a file where the clipboard takes no pictures. Says what it did. */
export async function copyPng(promise, name) {
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

/** Copy an address that holds the view. Says what it did. */
export async function copyLink(url) {
  try {
    await navigator.clipboard.writeText(url);
    return "Link copied";
  } catch {
    return "Copy the link from the address bar";
  }
}
