/** The theme: dark, light, or the system's; `data-theme` of the page has the current one. */

export const THEMES = ["auto", "dark", "light"];
const KEY = "tidegate.theme";

export function chosenTheme() {
  try {
    return localStorage.getItem(KEY) ?? "auto";
  } catch {
    return "auto";
  }
}

/** @param {string} theme */
export function chooseTheme(theme) {
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // Without storage the theme lasts until the page is left.
  }
  apply(theme);
}

const systemIsLight = matchMedia("(prefers-color-scheme: light)");

/** @param {string} theme */
function apply(theme) {
  document.documentElement.dataset.theme = theme === "auto" ? (systemIsLight.matches ? "light" : "dark") : theme;
}

systemIsLight.addEventListener("change", () => apply(chosenTheme()));
apply(chosenTheme());
