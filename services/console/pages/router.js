/** The address: `#/cameras/lobby?live=1` is the page `cameras`, with a part `lobby` and a query. */

/** @typedef {{page: string, parts: string[], query: URLSearchParams}} Route */

/** @param {string} [hash] @returns {Route} */
export function route(hash = location.hash) {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const [page = "", ...parts] = path.split("/").map(decodeURIComponent);
  return { page: page || "now", parts: parts.filter(Boolean), query: new URLSearchParams(query) };
}

/**
 * The address of a page.
 * @param {string} page
 * @param {string[]} [parts]
 * @param {Record<string, any>} [query]
 */
export function to(page, parts = [], query = {}) {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") params.set(name, String(value));
  }
  const search = params.toString();
  return `#/${[page, ...parts].map(encodeURIComponent).join("/")}${search ? `?${search}` : ""}`;
}

/** Change the query of the address, without a new entry in the history. @param {Record<string, any>} query */
export function replaceQuery(query) {
  const { page, parts } = route();
  history.replaceState(null, "", to(page, parts, query));
}
