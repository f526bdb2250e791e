// The current view, kept in the address: #/layer/unit/picture?search, #/layer/correlation/unit for
// a layer's matrix, and nothing for the diagram of the net, if there is one. So every view can be
// linked to, and the browser's Back returns to the previous one.

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
    return text; // a stray % typed by hand
  }
}

// Go one level down: Back or Esc returns here.
function enter(route) {
  history.pushState({ entered: true }, "", formatRoute(route));
  show();
}

// Move within a level, as to the next unit: Back returns to the level above.
function turn(route) {
  history.replaceState(history.state, "", formatRoute(route));
  show();
}

// Go one level up: Back if the user came from there, otherwise (from a link) a change of address.
function leave(route) {
  if (leaving) return; // Esc reaches a dialog twice, as a key and as a cancel event
  leaving = Boolean(history.state?.entered);
  if (leaving) history.back();
  else turn(route);
}

let leaving = false;
addEventListener("popstate", () => {
  leaving = false;
  show();
});

// A link within the page: a real one, which can be copied and opened in another tab.
function link(route, attributes, ...children) {
  return make("a", { href: formatRoute(route), ...attributes, onclick: (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    enter(route);
  } }, ...children);
}
