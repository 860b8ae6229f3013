/** Dark, light, or as the system has it: `data-theme` of the page says which of both it is now. */

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
    // A browser that keeps nothing has it until the page is left.
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
