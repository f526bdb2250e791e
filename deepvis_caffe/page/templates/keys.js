// The keys: one table, which both handles them and fills the help.

// `in` says where a key works: in the diagram, the list, a unit, its enlarged picture or the
// correlation matrix, or while typing a search.
const KEYS = [
  { keys: ["/"], in: ["diagram", "list", "unit", "matrix"], says: "Search by label, layer or unit number", run: () => byId("query").select() },
  { keys: ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"], in: ["diagram"], says: "Move between the layers of the net", run: moveInDiagram },
  { keys: ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"], in: ["list"], says: "Move between units", run: moveInGrid },
  { keys: ["Enter"], in: ["list"], says: "Open the unit", run: null }, // a link: the browser opens it
  { keys: ["Enter", "ArrowDown"], in: ["typing"], says: "Go to the first unit found", run: () => grid.focus(0) },
  { keys: ["ArrowLeft", "ArrowRight"], in: ["unit"], says: "Previous or next unit", run: turnUnit },
  { keys: ["Enter"], in: ["unit"], says: "Enlarge the selected picture, or the first one", run: enlarge },
  { keys: ["ArrowLeft", "ArrowRight"], in: ["picture"], says: "Previous or next picture", run: (event) => turnPicture(direction(event)) },
  { keys: ["x"], in: ["list", "unit", "picture"], says: "Next kind of picture", run: nextKind },
  { keys: ["r"], in: ["list", "unit", "picture"], says: "Next recipe, if there are several", run: nextRecipe },
  { keys: ["w"], in: ["unit", "picture"], says: "Receptive field or whole image", run: () => setOption("whole", !options.whole) },
  { keys: ["c"], in: ["unit", "picture"], says: "Contrast around gray: 1×, 2× or 4×", run: () => setOption("contrast", { 1: 2, 2: 4, 4: 1 }[options.contrast]) },
  { keys: ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"], in: ["matrix"], says: "Move the marker in the matrix", run: moveMark },
  { keys: ["Enter"], in: ["matrix"], says: "Open the marked unit", run: openMarked },
  { keys: ["[", "]"], in: ["list", "unit", "matrix"], says: "Previous or next layer", run: turnLayer },
  { keys: ["Escape"], in: ["list", "unit", "picture", "typing", "matrix"], says: "Close, go back, or end the search", run: goUp },
  { keys: ["?"], in: ["diagram", "list", "unit", "picture", "matrix"], says: "This help", run: () => byId("help").showModal() },
];

const NAMES = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Escape: "Esc" };

function whereKeysGo() {
  if (byId("help").open) return "help";
  if (document.activeElement === byId("query")) return "typing";
  if (current.diagram) return "diagram";
  if (current.matrix) return "matrix";
  return current.picture ? "picture" : current.place !== null ? "unit" : "list";
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
  const where = whereKeysGo();
  if (where === "help" || event.target.matches("select")) return; // the browser's own keys
  const row = KEYS.find((one) => one.keys.includes(event.key) && one.in.includes(where));
  if (!row?.run || row.run(event) === false) return;
  event.preventDefault();
});

function direction(event) {
  return event.key === "ArrowLeft" || event.key === "ArrowUp" || event.key === "[" ? -1 : 1;
}

function moveInGrid(event) {
  const row = event.key === "ArrowUp" || event.key === "ArrowDown";
  grid.move(direction(event) * (row ? grid.columns : 1));
}

function turnUnit(event) {
  const next = neighbourOf(current, direction(event));
  if (next) turn({ ...current, layer: next[0], place: next[1] });
}

function enlarge(event) {
  if (event.target.closest("a, button, summary")) return false; // these handle Enter themselves
  document.querySelector("#unit .tile")?.click();
}

function turnLayer(event) {
  const next = current.layer + direction(event);
  if (index.layers[next]) turn({ layer: next, matrix: current.matrix && index.layers[next].correlation !== null });
}

function openMarked(event) {
  if (event.target.closest("a, button, summary")) return false; // these handle Enter themselves
  if (current.marked !== null) openUnit(current.marked);
}

function goUp() {
  byId("query").blur();
  if (current.picture) closeLightbox();
  else if (current.matrix) leave({ layer: current.layer });
  else if (current.place !== null) leave({ ...current, place: null });
  else if (current.query) turn({ layer: current.layer });
  else if (hasDiagram && !current.diagram) leave({ layer: 0, diagram: true });
}

function fillHelp() {
  for (const { keys, says, in: where } of KEYS) {
    if (!hasDiagram && where.every((one) => one === "diagram")) continue;
    const names = keys.map((key) => make("kbd", {}, NAMES[key] ?? key));
    byId("keys").tBodies[0].append(make("tr", {},
      make("th", { scope: "row" }, ...names), make("td", {}, says)));
  }
  for (const [kind, { title, about }] of Object.entries(KINDS)) {
    if (!index.layers.some((_, layer) => layerHas(layer, kind))) continue;
    byId("kinds-help").append(make("dt", {}, title), make("dd", {}, about));
  }
}
