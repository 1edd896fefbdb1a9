// Light or dark colors: the system's setting, until the visitor chooses.

const STORAGE_KEY = "sagan-theme";

/** @param {HTMLButtonElement} button */
export function initializeAppearance(button) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const stored = storedTheme();
  if (stored) document.documentElement.dataset.theme = stored;
  const isDark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const label = () => {
    button.setAttribute("aria-label", isDark() ? "Switch to light colors" : "Switch to dark colors");
  };
  button.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem(STORAGE_KEY, theme);
    } catch {
      // Storage is blocked: the choice lasts as long as the page is open.
    }
    label();
  });
  system.addEventListener("change", label);
  label();
}

function storedTheme() {
  try {
    return localStorage.getItem(STORAGE_KEY);
  } catch {
    return null;
  }
}
