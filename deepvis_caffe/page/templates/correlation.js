// How the units of a layer correlate: the matrix of Pearson's r, drawn from its values.

const matrixView = { matrix: null, byNumber: false, pointed: null, later: 0 };

// A layer's matrix: a promise of {images, order, units, level(one, other), r(one, other), colors}.
function loadMatrix(layer) {
  const address = index.layers[layer].correlation;
  if (!loading.has(address)) {
    loading.set(address, loadScript(address).then(() => unpackMatrix(arrived.get(`${layer}.correlation`))));
  }
  return loading.get(address);
}

function unpackMatrix({ levels, none, zero, steps, ...rest }) {
  const packed = Uint8Array.from(atob(levels), (character) => character.charCodeAt(0));
  const level = (one, other) => {
    const [low, high] = one < other ? [one, other] : [other, one];
    return packed[(high * (high + 1)) / 2 + low];
  };
  const r = (one, other) => {
    const found = level(one, other);
    return found === none ? null : (found - zero) / steps;
  };
  return { ...rest, none, zero, steps, level, r, units: rest.order.length, painted: new Map() };
}

// Paint the whole matrix, one pixel per pair, in the chosen order.
function paintMatrix(matrix, byNumber) {
  if (matrix.painted.has(byNumber)) return matrix.painted.get(byNumber);
  const { units, level, colors } = matrix;
  const order = orderOf(matrix, byNumber);
  const canvas = make("canvas", { width: units, height: units });
  const context = canvas.getContext("2d");
  const image = context.createImageData(units, units);
  for (let row = 0, at = 0; row < units; row += 1) {
    for (let column = 0; column < units; column += 1, at += 4) {
      const [red, green, blue] = colors[level(order[row], order[column])];
      image.data[at] = red;
      image.data[at + 1] = green;
      image.data[at + 2] = blue;
      image.data[at + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
  matrix.painted.set(byNumber, canvas);
  return canvas;
}

function orderOf(matrix, byNumber = matrixView.byNumber) {
  return byNumber ? matrix.order.map((_, place) => place) : matrix.order;
}

async function showMatrix(route) {
  const root = byId("matrix");
  const { layer, marked } = route;
  const key = String(layer);
  if (root.dataset.layer !== key) root.replaceChildren(matrixHead(route, null));
  const matrix = await loadMatrix(layer);
  if (current.layer !== layer || !current.matrix) return; // the user has moved on since
  Object.assign(matrixView, { matrix, pointed: null });
  if (root.dataset.layer !== key || !byId("matrix-canvas")) {
    root.dataset.layer = key;
    root.replaceChildren(matrixHead(route, matrix), make("div", { class: "matrix-body" },
      make("figure", {}, matrixCanvas(), matrixLegend(matrix)),
      make("aside", { id: "pair", class: "pair", "aria-live": "polite" })));
    new ResizeObserver(drawMatrix).observe(byId("matrix-canvas"));
  }
  drawMatrix();
  const one = marked !== null && marked < matrix.units ? marked : orderOf(matrix)[0];
  showPair(one, closest(matrix, one));
}

function matrixHead(route, matrix) {
  const { name } = index.layers[route.layer];
  const up = { layer: route.layer };
  const about = matrix && `Pearson's correlation of ${amount(matrix.units)} units over ` +
    `${amount(matrix.images)} ${matrix.images === 1 ? "image" : "images"}. Click to open the row's unit.`;
  return make("header", { class: "heading" },
    make("div", {},
      make("p", { class: "crumbs" }, make("a", { href: formatRoute(up), onclick: (event) => {
        event.preventDefault();
        leave(up);
      } }, name)),
      make("h2", { id: "matrix-title", tabindex: "-1" }, "Correlations between units"),
      make("p", { class: "quiet" }, about ?? "")),
    choices("Order", [[false, "By similarity"], [true, "By number"]], matrixView.byNumber, (byNumber) => {
      matrixView.byNumber = byNumber;
      byId("matrix").querySelectorAll(".heading .switch button").forEach((button, place) =>
        button.setAttribute("aria-pressed", String((place === 1) === byNumber)));
      drawMatrix();
    }));
}

function matrixCanvas() {
  const canvas = make("canvas", { id: "matrix-canvas", role: "img",
    "aria-label": "Correlation of every pair of units; the arrow keys move the marker" });
  canvas.addEventListener("pointermove", (event) => {
    const pair = pairAt(canvas, event);
    if (pair.join() === matrixView.pointed?.join()) return;
    matrixView.pointed = pair;
    showPair(...pair);
  });
  canvas.addEventListener("pointerleave", () => {
    matrixView.pointed = null;
    const { marked } = current;
    if (current.matrix && marked !== null) showPair(marked, closest(matrixView.matrix, marked));
  });
  canvas.addEventListener("click", (event) => openUnit(...pairAt(canvas, event)));
  return canvas;
}

function pairAt(canvas, event) {
  const { matrix } = matrixView;
  const box = canvas.getBoundingClientRect();
  const at = (where, start, size) =>
    Math.min(matrix.units - 1, Math.max(0, Math.floor(((where - start) / size) * matrix.units)));
  const order = orderOf(matrix);
  return [order[at(event.clientY, box.top, box.height)], order[at(event.clientX, box.left, box.width)]];
}

// Open the first of these units that has pictures on this page.
function openUnit(...units) {
  const place = units.map((unit) => index.layers[current.layer].units.indexOf(unit)).find((one) => one >= 0);
  if (place !== undefined) enter({ layer: current.layer, place });
}

function drawMatrix() {
  const canvas = byId("matrix-canvas");
  const { matrix, byNumber } = matrixView;
  const side = Math.round((canvas?.clientWidth ?? 0) * devicePixelRatio);
  if (!matrix || !side) return;
  if (canvas.width !== side) Object.assign(canvas, { width: side, height: side });
  const context = canvas.getContext("2d");
  Object.assign(context, { imageSmoothingEnabled: matrix.units > side, imageSmoothingQuality: "high" });
  context.drawImage(paintMatrix(matrix, byNumber), 0, 0, side, side);
  const place = orderOf(matrix).indexOf(current.marked);
  if (place < 0) return;
  const line = Math.max(1, Math.round(devicePixelRatio));
  const [low, high] = [0, 1].map((more) => Math.round(((place + more) * side) / matrix.units));
  context.fillStyle = "#ffb84d";
  for (const at of [low - line, Math.max(high, low + line)]) {
    context.fillRect(0, at, side, line);
    context.fillRect(at, 0, line, side);
  }
}

function matrixLegend({ colors, zero, steps, none, r, order }) {
  const stops = Array.from({ length: 41 }, (_, at) => colors[zero - steps + (at * steps) / 20]);
  const bar = make("span", { class: "scale" });
  bar.style.background = `linear-gradient(to right, ${stops.map((one) => `rgb(${one})`).join()})`;
  const still = order.filter((unit) => r(unit, unit) === null).length;
  const chip = make("span", { class: "chip" });
  chip.style.background = `rgb(${colors[none]})`;
  return make("figcaption", { class: "legend" }, "−1", bar, "+1",
    still ? make("span", { class: "still" }, chip, `${amount(still)} never ${still === 1 ? "changes" : "change"}`) : null);
}

// The unit most correlated with a given one, or the unit itself if there is none.
function closest({ units, r }, one) {
  let best = one;
  for (let other = 0; other < units; other += 1) {
    if (other !== one && r(one, other) !== null && (best === one || r(one, other) > r(one, best))) best = other;
  }
  return best;
}

// Show two units and their r, and their pictures once the pointer stops.
function showPair(one, other) {
  const { r } = matrixView.matrix;
  const root = byId("pair");
  const { layer } = current;
  const cards = [...new Set([one, other])].map((unit) => relative(layer, unit, null, ""));
  root.replaceChildren(make("p", { class: "r" }, ...pairWords(one, other, r)), ...cards.map(({ card }) => card));
  clearTimeout(matrixView.later);
  matrixView.later = setTimeout(() => cards.forEach(({ fill }) => fill()), 120);
}

function pairWords(one, other, r) {
  if (r(one, one) === null || r(other, other) === null) {
    return [`Unit ${r(one, one) === null ? one : other} never changes`];
  }
  return one === other ? [`Unit ${one}`] : [`${one} and ${other}: `, make("strong", {}, signedFigure(r(one, other)))];
}

function signedFigure(value) {
  const text = Math.abs(value).toFixed(2);
  return Number(text) === 0 ? text : (value < 0 ? "−" : "+") + text;
}

// A card for a unit, and a function that fills in its pictures. The card is a link if the page has
// pictures of the unit. `words` formats the value, and `name` precedes the unit's number. The card
// shows those of `kinds` that the unit has, or else another kind.
function relative(layer, unit, value, query, { words = signedFigure, name = null, kinds = ["max_im"] } = {}) {
  const place = layer < 0 ? -1 : index.layers[layer].units.indexOf(unit);
  const there = place >= 0;
  const label = there ? shortLabel(layer, place) : "";
  const some = there ? kinds.filter((kind) => has(layer, place, kind)) : [];
  const shown = there && !some.length ? [kindFor(layer, place, kinds[0])] : some;
  const spaces = shown.map(() => make("span", { class: "space" }));
  const nothing = make("span", { class: "space" }, make("span", { class: "quiet" }, "no pictures"));
  const inside = [make("span", { class: "spaces" }, ...(there ? spaces : [nothing])), make("span", { class: "caption" },
    name === null ? null : make("span", { class: "layer" }, name),
    make("span", { class: "number" }, String(unit)),
    make("span", { class: "label" }, label),
    value === null ? null : make("span", { class: value < 0 ? "value against" : "value with" }, words(value)))];
  const title = [name === null ? `unit ${unit}` : `${name} unit ${unit}`, there ? labelOf(layer, place) : ""].filter(Boolean).join(", ");
  const card = there ? link({ layer, place, query }, { class: "relative", title }, ...inside)
    : make("span", { class: "relative", title }, ...inside);
  return { card, fill: () => spaces.forEach((space, at) => fillCard(space, layer, place, shown[at])) };
}

// Pictures of the units most correlated and anticorrelated with a unit, below its own pictures.
function unitRelatives({ layer, place, query }, { together, apart }) {
  if (!together.length && !apart.length) return null;
  const unit = index.layers[layer].units[place];
  const row = (title, pairs) => {
    if (!pairs.length) return null;
    const made = pairs.map(([one, value]) => relative(layer, one, value, query));
    made.forEach(({ fill }) => fill());
    return make("div", {}, make("h3", {}, title), make("div", { class: "relatives" }, ...made.map(({ card }) => card)));
  };
  return make("section", { class: "relations", "aria-label": "Correlated units" },
    row("Correlated with", together), row("Anticorrelated with", apart),
    index.layers[layer].correlation
      ? make("p", { class: "quiet" }, link({ layer, matrix: true, marked: unit }, {}, "All correlations of this layer"))
      : null);
}

// Move the marker by one row.
function moveMark(event) {
  const { matrix } = matrixView;
  if (!matrix) return;
  const order = orderOf(matrix);
  const here = order.indexOf(current.marked);
  const next = here < 0 ? 0 : Math.min(matrix.units - 1, Math.max(0, here + direction(event)));
  turn({ layer: current.layer, matrix: true, marked: order[next] });
}
