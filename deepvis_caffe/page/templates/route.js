// Where the reader is, kept in the address: #/layer/unit/picture?search, for a layer's matrix
// #/layer/correlation/unit, and nothing for the diagram of the net, where there is one. So every view can be linked to, and the browser's Back leads to the one
// before.

function parseRoute(hash) {
  const [path, query = ""] = hash.replace(/^#/, "").split("?");
  const [, name = "", unit = "", picture = ""] = path.split("/").map(decoded);
  const layer = index.layers.findIndex((one) => one.name === name);
  const route = { layer: Math.max(layer, 0), place: null, picture: null, query: decoded(query), lost: "",
    matrix: false, marked: null, diagram: hasDiagram && !name && !query };
  if (name && layer < 0) route.lost = `There is no layer ${name} on this page.`;
  else if (unit === "correlation") {
    route.matrix = index.layers[layer].correlation !== null;
    if (!route.matrix) route.lost = `There is no correlation of ${name} on this page.`;
    else if (/^\d+$/.test(picture)) route.marked = Number(picture);
  }
  else if (unit) {
    const place = index.layers[layer].units.indexOf(Number(unit));
    if (place < 0) route.lost = `There are no pictures of unit ${unit} of ${name} on this page.`;
    else Object.assign(route, { place, picture: picture || null });
  }
  return route;
}

function formatRoute({ layer, place = null, picture = null, query = "", matrix = false, marked = null, diagram = false }) {
  if (diagram) return "#";
  const { name, units } = index.layers[layer];
  const inside = matrix ? ["correlation", marked] : [place === null ? null : units[place], picture];
  const steps = [name, ...inside].filter((step) => step !== null);
  const path = steps.map((step) => `/${encodeURIComponent(step)}`).join("");
  return `#${path}` + (query ? `?${encodeURIComponent(query)}` : "");
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a stray % that somebody typed
  }
}

// Go deeper: Back, or Esc, comes back here.
function enter(route) {
  history.pushState({ entered: true }, "", formatRoute(route));
  show();
}

// Go on at the same depth, as to the next unit: Back leads to what is above both.
function turn(route) {
  history.replaceState(history.state, "", formatRoute(route));
  show();
}

// Go up. Where the reader came from above, that is Back; where a link led here, there is no above.
function leave(route) {
  if (leaving) return; // Esc reaches a dialog twice, as a key and as its request to close
  leaving = Boolean(history.state?.entered);
  if (leaving) history.back();
  else turn(route);
}

let leaving = false;
addEventListener("popstate", () => {
  leaving = false;
  show();
});

// A link within the page: a real one, that can be copied and opened in another tab.
function link(route, attributes, ...children) {
  return make("a", { href: formatRoute(route), ...attributes, onclick: (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    enter(route);
  } }, ...children);
}
