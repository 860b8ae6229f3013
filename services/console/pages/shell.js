/** The frame of every page: navigation, theme, the signed-in person, and whether the console answers. */

import { errorText, get, isTransient, remove } from "./api.js";
import { fill, h, setText } from "./parts/dom.js";
import { emptyNote, errorNote } from "./parts/messages.js";
import { watchUnreviewed } from "./review/unreviewed.js";
import { route } from "./router.js";
import { strings } from "./strings.js";
import { chooseTheme, chosenTheme, THEMES } from "./theme.js";

const ROLES = ["viewer", "operator", "admin"];
/** Pages in the order of the navigation, and who may use them. @type {Record<string, string>} */
const PAGES = {
  now: "viewer", cameras: "viewer", review: "viewer", recordings: "viewer", find: "viewer", ask: "viewer", scaling: "viewer",
  models: "viewer", site: "operator", system: "viewer", people: "admin", me: "viewer",
};
const HIDDEN = ["me"];
const POLL_MS = 3000;
const RETRY_MS = 1000;

/** @typedef {(main: HTMLElement, route: import("./router.js").Route, shell: Shell) => Promise<void | (() => void)>} Show */

export class Shell {
  /** @type {void | (() => void)} */
  #leave = undefined;
  #shown = 0;
  #ended = false;

  /** @param {HTMLElement} app @param {any} me */
  constructor(app, me) {
    this.me = me;
    this.banner = h("div", { class: "banner", role: "status", hidden: true });
    this.main = h("main", { id: "main", tabIndex: -1 });
    /** @type {Record<string, HTMLAnchorElement>} */
    this.links = {};
    this.rail = this.#rail();
    const bar = h("header", { class: "bar" }, brand(),
      h("button", { type: "button", "aria-expanded": "false", onclick: () => this.#toggle() }, strings.menu));
    this.menu = /** @type {HTMLButtonElement} */ (bar.lastChild);
    fill(app,
      h("a", { class: "skip", href: "#main", onclick: (/** @type {Event} */ e) => { e.preventDefault(); this.main.focus(); } }, strings.skip),
      h("div", { class: "frame" }, bar, this.rail, h("div", {}, this.banner, this.main)));
    void this.#watch();
    this.#count = watchUnreviewed(this);
  }

  #count;

  /** Whether the signed-in person has this role or a higher one. @param {string} role */
  may(role) {
    return ROLES.indexOf(this.me.role) >= ROLES.indexOf(role);
  }

  /** Show a number next to a page's name; 0: none. @param {string} page @param {number} n */
  count(page, n) {
    const link = this.links[page];
    link?.querySelector(".count")?.remove();
    if (n > 0) link?.append(h("span", { class: "count" }, n > 99 ? "99+" : n));
  }

  /** Show the page that the address asks for. @param {number} tries before this one, where it could not be loaded */
  async show(tries = 0) {
    const current = route();
    const turn = ++this.#shown;
    const role = PAGES[current.page];
    this.#mark(current.page);
    this.#end();
    this.main = this.#fresh();
    if (!role) return fill(this.main, h("h1", {}, strings.product), emptyNote(strings.noSuchPage));
    document.title = `${/** @type {any} */ (strings.pages)[current.page]} – ${strings.product}`;
    const heading = h("h1", {}, /** @type {any} */ (strings.pages)[current.page]);
    if (!this.may(role)) return fill(this.main, heading, emptyNote(strings.needsRole(role)));
    const main = this.main;
    try {
      const page = await import(`./${current.page}/page.js`);
      if (turn !== this.#shown) return;
      const leave = await page.show(main, current, this);
      // The page was left while it loaded: end what it started.
      if (turn === this.#shown && !this.#ended) this.#leave = leave;
      else leave?.();
    } catch (error) {
      if (turn !== this.#shown) return;
      fill(main, errorNote(strings.notLoaded, " ", errorText(error)));
      if (isTransient(error)) setTimeout(() => turn === this.#shown && void this.show(tries + 1), RETRY_MS * 2 ** Math.min(tries, 4));
    }
  }

  end() {
    this.#ended = true;
    this.#count();
    this.#shown += 1;
    this.#end();
  }

  #end() {
    const leave = this.#leave;
    this.#leave = undefined;
    leave?.();
  }

  /** A new element for each page: one that loads late fills a detached element. */
  #fresh() {
    const main = h("main", { id: "main", tabIndex: -1 });
    this.main.replaceWith(main);
    return main;
  }

  /** @param {string} page */
  #mark(page) {
    for (const [name, link] of Object.entries(this.links)) {
      if (name === page) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    this.#toggle(false);
  }

  #toggle(open = !this.rail.classList.contains("open")) {
    this.rail.classList.toggle("open", open);
    this.menu?.setAttribute("aria-expanded", String(open));
  }

  #rail() {
    const names = Object.keys(PAGES).filter((page) => !HIDDEN.includes(page) && this.may(/** @type {string} */ (PAGES[page])));
    for (const page of names) {
      this.links[page] = h("a", { href: `#/${page}` }, /** @type {any} */ (strings.pages)[page]);
    }
    const me = (this.links.me = h("a", { href: "#/me" }, strings.signedInAs(this.me.name, this.me.role)));
    return h("aside", { class: "rail", "aria-label": strings.product }, brand(),
      h("nav", { "aria-label": strings.menu }, h("ul", {}, names.map((page) => h("li", {}, this.links[page] ?? "")))),
      h("div", { class: "self" }, me, themes(), h("button", { type: "button", onclick: () => void signOut() }, strings.signOut)));
  }

  /** Poll the console's health, and show a banner when it fails. */
  async #watch() {
    while (!this.#ended) {
      const trouble = await get("health").then((health) => (health.connected ? "" : strings.natsAway), () => strings.away);
      this.banner.hidden = !trouble;
      setText(this.banner, trouble);
      await new Promise((resolve) => setTimeout(resolve, trouble ? RETRY_MS : POLL_MS));
    }
  }
}

function brand() {
  return h("a", { class: "brand", href: "#/now" }, h("img", { src: "icon.svg", alt: "" }), strings.product);
}

function themes() {
  const select = h("select", { "aria-label": strings.theme, onchange: () => chooseTheme(select.value) },
    THEMES.map((theme) => h("option", { value: theme, selected: theme === chosenTheme() }, /** @type {any} */ (strings.themes)[theme])));
  return select;
}

async function signOut() {
  await remove("session").catch(() => {});
  location.hash = "";
  location.reload();
}
