// The page: what is shown depends on the address and on a few options that the user sets.

const options = { kind: "best_X", contrast: 2, whole: false, recipe: "" };
const grid = new Grid(byId("grid"));
const scrolls = new Map(); // how far each list was scrolled
let current = parseRoute(location.hash);
let listed = null; // which list the grid shows

// Show what the address refers to.
function show() {
  const before = current;
  if (before.place === null && !before.matrix && !before.diagram) scrolls.set(listed, scrollY);
  current = parseRoute(location.hash);
  byId("notice").textContent = current.lost;
  byId("notice").hidden = !current.lost;
  const atUnit = current.place !== null;
  byId("diagram").hidden = !current.diagram;
  byId("list").hidden = atUnit || current.matrix || current.diagram;
  byId("matrix").hidden = !current.matrix;
  byId("unit").hidden = !atUnit;
  showLayers();
  if (document.activeElement !== byId("query")) byId("query").value = current.query;
  if (atUnit) {
    showUnit(current).catch(complain);
    if (before.place !== current.place || before.layer !== current.layer) {
      scrollTo(0, 0);
      byId("unit-title")?.focus({ preventScroll: true });
      say(`${index.layers[current.layer].name}, ${unitTitle(current.layer, current.place)}`);
    }
  } else if (current.matrix) {
    showMatrix(current).catch(complain);
    if (!before.matrix || before.layer !== current.layer) {
      scrollTo(0, 0);
      byId("matrix-title")?.focus({ preventScroll: true });
      say(`${index.layers[current.layer].name}, correlations between units`);
    }
  } else if (current.diagram) {
    showDiagram(before);
  } else {
    showList(before);
  }
  if (current.picture) showLightbox(current).catch(complain);
  else if (byId("lightbox").open) shutLightbox(before);
  document.title = titleOf(current);
}

function titleOf({ layer, place, query, matrix, diagram }) {
  const about = diagram ? "The net" : matrix ? `correlations between units · ${index.layers[layer].name}` : place !== null ? `${unitTitle(layer, place)} · ${index.layers[layer].name}`
    : query ? `${query} · search` : index.layers[layer].name;
  return `${about} · ${byId("home").textContent}`;
}

function shutLightbox(before) {
  byId("lightbox").close();
  byId("lightbox").replaceChildren();
  const tile = [...document.querySelectorAll("#unit .tile")].find((one) => one.dataset.picture === before.picture);
  tile?.focus();
}

function showList(before) {
  const { layer, query } = current;
  const items = query ? findUnits(query) : allUnits(layer);
  const { name, count, correlation } = index.layers[layer];
  const whole = wholeLayerAddress(layer);
  const kind = shownKind(items);
  const list = `${query ? `?${query}` : layer}`;
  byId("list-title").textContent = query ? `“${query}”` : name;
  const of = !query && count > items.length ? ` of ${amount(count)}` : "";
  const found = `${amount(items.length)}${of} ${items.length === 1 && !of ? "unit" : "units"}`;
  byId("list-about").replaceChildren(found, ...(whole && !query
    ? [" · ", make("a", { href: whole, target: "_blank" }, "the layer in one picture")] : []),
    ...(correlation && !query ? [" · ", link({ layer, matrix: true }, {}, "correlations between units")] : []));
  byId("list").classList.toggle("of-many", query !== "");
  byId("nothing").hidden = items.length > 0;
  byId("nothing").textContent = `No unit number, label or layer matches “${query}”.`;
  showKinds(items, kind);
  showRecipes(items);
  const now = `${list} ${kind} ${options.recipe}`;
  if (listed !== now) {
    const to = (one, place) => ({ layer: one, place, query });
    grid.show(items, kind, (one, place, ...rest) => link(to(one, place), ...rest));
    listed = now;
    say(found);
  } else {
    grid.update();
  }
  if (before !== current && (before.place !== null || before.matrix)) {
    scrollTo(0, scrolls.get(listed) ?? 0); // back in the list, where the user left it
    const place = items.findIndex(([one, other]) => one === before.layer && other === before.place);
    if (place >= 0) grid.focus(place);
  } else if (before.layer !== layer || before.query !== query || before.diagram) {
    scrollTo(0, 0);
  }
  grid.update();
}

// The chosen kind, or else the first that these units have.
function shownKind(items) {
  const there = kindsOf(items);
  return there.includes(options.kind) ? options.kind : there[0] ?? "best_X";
}

function kindsOf(items) {
  return Object.keys(KINDS).filter((kind) => items.some(([layer, place]) => has(layer, place, kind)));
}

function layerHas(layer, kind) {
  return index.layers[layer].has.some((_, place) => has(layer, place, kind));
}

function showKinds(items, kind) {
  const there = kindsOf(items);
  const bar = choices("Pictures", there.map((one) => [one, KINDS[one].title]), kind, (one) => setOption("kind", one));
  byId("kinds").replaceChildren(...bar.children);
  byId("kinds").hidden = there.length < 2;
  byId("kind-about").textContent = there.length ? KINDS[kind].about : "";
}

// The recipes to choose from, if there are several.
function showRecipes(items) {
  const names = recipeNames(items);
  const shown = names.includes(options.recipe) ? options.recipe : "";
  const offered = [["", "Best of each unit"], ...names.map((name) => [name, name])];
  const bar = choices("Recipe", offered, shown, (name) => setOption("recipe", name));
  byId("recipes").replaceChildren(...bar.children);
  byId("recipes").hidden = names.length < 2;
}

function setOption(name, value) {
  options[name] = value;
  document.documentElement.style.setProperty("--contrast", options.contrast);
  const kind = name === "kind" && OPTIMIZED.find((one) => current.picture?.startsWith(`${one}.`));
  const focused = document.activeElement?.closest(".switch")?.getAttribute("aria-label");
  if (kind) turn({ ...current, picture: current.picture.replace(kind, value) });
  else show();
  requestAnimationFrame(() => focused && refocus(focused));
}

// The buttons were recreated: return the focus to the pressed one.
function refocus(label) {
  const group = [...document.querySelectorAll(".switch")].find((one) =>
    one.getAttribute("aria-label") === label && one.offsetParent);
  group?.querySelector("[aria-pressed=true]")?.focus();
}

function nextKind() {
  const items = current.query ? findUnits(current.query) : allUnits(current.layer);
  const there = current.place === null ? kindsOf(items)
    : OPTIMIZED.filter((kind) => has(current.layer, current.place, kind));
  const here = there.indexOf(options.kind);
  if (there.length > 1) setOption("kind", there[(here + 1) % there.length]);
}

// The next recipe that the unit, or the list, has pictures of.
function nextRecipe() {
  const { layer, place, query } = current;
  const atUnit = place !== null;
  const there = atUnit ? recipesOf(layer, place).map((recipe) => index.layers[layer].recipes[recipe].name)
    : ["", ...recipeNames(query ? findUnits(query) : allUnits(layer))];
  if (there.length < (atUnit ? 2 : 3)) return;
  const shown = atUnit ? index.layers[layer].recipes[shownRecipe(layer, place)].name : options.recipe;
  setOption("recipe", there[(there.indexOf(shown) + 1) % there.length]);
}

function showLayers() {
  const list = byId("layer-list");
  if (!list.children.length) {
    if (hasDiagram) byId("layer-choice").append(make("option", { value: "" }, "The net"));
    index.layers.forEach(({ name, units }, layer) => {
      list.append(make("li", {}, link({ layer }, {}, make("span", {}, name),
        make("span", { class: "quiet" }, amount(units.length)))));
      byId("layer-choice").append(make("option", { value: layer }, `${name} (${amount(units.length)})`));
    });
  }
  [...list.children].forEach(({ firstChild }, layer) => {
    markHere(firstChild, layer === current.layer && !current.query && !current.diagram);
  });
  markHere(byId("to-diagram"), current.diagram);
  byId("layer-choice").value = current.diagram ? "" : current.layer;
}

function markHere(element, here) {
  if (here) element.setAttribute("aria-current", "true");
  else element.removeAttribute("aria-current");
}

function amount(number) {
  return number.toLocaleString("en");
}

function say(text) {
  byId("status").textContent = text;
}

function complain(error) {
  byId("notice").textContent = error.message;
  byId("notice").hidden = false;
}

function start() {
  const units = index.layers.reduce((sum, layer) => sum + layer.units.length, 0);
  const layers = index.layers.length;
  byId("about").textContent = `${amount(units)} ${units === 1 ? "unit" : "units"} of ${layers} ${layers === 1 ? "layer" : "layers"}: what activates each one most.`;
  byId("home").addEventListener("click", (event) => {
    event.preventDefault();
    enter({ layer: 0, diagram: hasDiagram });
  });
  byId("to-diagram").hidden = !hasDiagram;
  byId("to-diagram").addEventListener("click", (event) => {
    event.preventDefault();
    enter({ layer: 0, diagram: true });
  });
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault();
    if (current.diagram) byId("stages").querySelector("a")?.focus();
    else if (current.place === null) grid.move(0);
    else byId("unit-title").focus();
  });
  byId("search").addEventListener("submit", (event) => event.preventDefault());
  byId("query").addEventListener("input", () => {
    const to = { layer: current.layer, query: byId("query").value.trim() };
    if (current.place === null && current.query) turn(to);
    else enter(to);
  });
  byId("layer-choice").addEventListener("change", () => {
    const chosen = byId("layer-choice").value;
    enter({ layer: Number(chosen), diagram: chosen === "" });
  });
  byId("help-button").addEventListener("click", () => byId("help").showModal());
  byId("help").addEventListener("click", (event) => {
    if (event.target === event.currentTarget) event.currentTarget.close();
  });
  const left = index.skipped.length;
  byId("skipped").hidden = left === 0;
  byId("skipped").firstElementChild.textContent = `${amount(left)} ${left === 1 ? "file was" : "files were"} left out`;
  byId("skipped").lastElementChild.append(...index.skipped.map((line) => make("li", {}, line)));
  document.documentElement.style.setProperty("--contrast", options.contrast);
  history.scrollRestoration = "manual";
  fillHelp();
  show();
}

start();
