// Light or dark: the system's choice until the visitor makes one.

const KEY = "sagan-theme";

/** @param {HTMLButtonElement} button */
export function initializeAppearance(button) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const stored = read();
  if (stored) document.documentElement.dataset.theme = stored;
  const isDark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const label = () => {
    button.setAttribute("aria-label", isDark() ? "Switch to light colors" : "Switch to dark colors");
  };
  button.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // Storage is forbidden: the choice lasts as long as the page.
    }
    label();
  });
  system.addEventListener("change", label);
  label();
}

function read() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}
