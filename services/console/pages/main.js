/** The entry point: sign in, then show the page of the address. */

import { get, remember, whenSignedOut } from "./api.js";
import { route } from "./router.js";
import { Shell } from "./shell.js";
import { signIn } from "./signin/page.js";

const app = /** @type {HTMLElement} */ (document.getElementById("app"));

/** @type {Shell | null} */
let shell = null;

async function begin() {
  const link = route().page === "link" ? route().parts[0] : "";
  const me = link ? null : (await get("session").catch(() => null))?.me;
  if (me) open(me);
  else await signIn(app, link ?? "", open);
}

/** @param {any} me */
function open(me) {
  remember(me.csrf);
  shell?.end();
  shell = new Shell(app, me);
  void shell.show();
}

whenSignedOut(() => {
  shell?.end();
  shell = null;
  void signIn(app, "", open);
});
window.addEventListener("hashchange", () => {
  if (route().page === "link") void begin();
  else void shell?.show();
});
void begin();
