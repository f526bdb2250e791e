// One unit: large pictures of all its seeds, and how they were made.

// All pictures of a unit that the lightbox can show, in order: {id, title, address, frame, run},
// and for a top image also its value.
function picturesOf(layer, place, { runs, top }, kind) {
  const shown = runs.filter((run) => run.pictures[kind]).map((run) => ({
    id: `${kind}.${run.seed}`,
    title: `seed ${run.seed}`,
    address: pictureAddress(layer, place, { seed: run.seed, kind, ending: run.pictures[kind] }),
    frame: () => runFrame(layer, place, run, kind, options.whole),
    run,
  }));
  const single = (id, title) => ({
    id,
    title,
    address: pictureAddress(layer, place, id),
    frame: () => pictureFrame(pictureAddress(layer, place, id), `${title}: ${unitTitle(layer, place)}`, { kind: id }),
    run: null,
  });
  if (hasMontage(layer, place) && shown.length === 0) shown.push(single("montage", "Montage"));
  top.forEach(([name, value, label], rank) => {
    const address = pictureAddress(layer, place, { rank });
    const title = label ? `${name}, ${label}` : name;
    shown.push({ id: `max_im.${rank}`, title, address, value, run: null,
      frame: () => pictureFrame(address, `Top image ${rank + 1}: ${title}`, { kind: "max_im" }) });
  });
  for (const tree of Object.keys(TREES)) {
    if (has(layer, place, tree) && !(tree === "max_im" && top.length)) shown.push(single(tree, KINDS[tree].title));
  }
  return shown;
}

// Which of the two kinds of optimized pictures of a unit to show.
function optimizedKind(runs) {
  const there = OPTIMIZED.filter((kind) => runs.some((run) => run.pictures[kind]));
  return there.includes(options.kind) ? options.kind : there[0] ?? "best_X";
}

async function showUnit(route) {
  const root = byId("unit");
  const { layer, place } = route;
  const head = unitHead(route);
  if (root.dataset.unit !== `${layer}/${place}`) root.replaceChildren(head); // remove the previous unit's content
  root.dataset.unit = `${layer}/${place}`;
  const known = await loadRuns(layer, place);
  const { runs, made, statistics, drivers } = known;
  if (root.dataset.unit !== `${layer}/${place}`) return; // the user has moved on since
  const kind = optimizedKind(runs);
  const pictures = picturesOf(layer, place, known, kind);
  root.replaceChildren(head,
    make("div", { class: statistics || runs.some((run) => run.made !== undefined) ? "unit-body" : "unit-body alone" },
      make("div", { class: "unit-pictures" }, unitSwitches(route, runs, kind), tiles(route, pictures, kind)),
      statistics ? make("div", {}, unitRecord(layer, place, runs, made), unitStatistics(route, statistics))
        : unitRecord(layer, place, runs, made)),
    ...[drivers && unitDrivers(route, drivers), statistics && unitRelatives(route, statistics)].filter(Boolean));
  hideNeedless(root);
}

// The receptive field may be the whole image: then there is nothing to choose.
function hideNeedless(root) {
  const image = root.querySelector(".unit-body .frame.cut img");
  const group = root.querySelector('[aria-label="Show"]');
  image?.addEventListener("load", () => {
    group.hidden = image.offsetWidth <= image.parentElement.offsetWidth + 1
      && image.offsetHeight <= image.parentElement.offsetHeight + 1;
  });
}

function unitHead(route) {
  const { layer, place } = route;
  const { name, units } = index.layers[layer];
  const label = labelOf(layer, place);
  const neighbour = (by, text, arrow) => {
    const next = neighbourOf(route, by);
    if (!next) return make("span", { class: "step off", "aria-hidden": "true" }, arrow);
    const to = { ...route, layer: next[0], place: next[1], picture: null };
    const title = `${text} ${unitTitle(...next)}`;
    return make("a", { class: "step", href: formatRoute(to), title, "aria-label": title,
      onclick: (event) => {
        event.preventDefault();
        turn(to);
      } }, arrow);
  };
  const up = { layer, query: route.query };
  return make("header", { class: "heading" },
    make("div", {},
      make("p", { class: "crumbs" }, make("a", { href: formatRoute(up), onclick: (event) => {
        event.preventDefault();
        leave(up);
      } }, route.query ? `Search: ${route.query}` : name), route.query ? ` · ${name}` : ""),
      make("h2", { id: "unit-title", tabindex: "-1" }, `Unit ${units[place]}`,
        label ? make("span", { class: "label" }, label) : ""),
      shownAs(layer, place) ? make("p", { class: "quiet" }, shownAsText(layer, place)) : ""),
    make("nav", { class: "steps", "aria-label": "Units" },
      neighbour(-1, "Previous:", "←"), neighbour(1, "Next:", "→")));
}

// The previous or next unit in the list that the user came from.
function neighbourOf({ layer, place, query }, by) {
  const items = query ? findUnits(query) : allUnits(layer);
  const here = items.findIndex(([one, other]) => one === layer && other === place);
  return here < 0 ? null : items[here + by] ?? null;
}

function unitSwitches({ layer, place }, runs, kind) {
  const there = OPTIMIZED.filter((one) => runs.some((run) => run.pictures[one]));
  const bar = make("div", { class: "bar" });
  const recipes = recipesOf(layer, place).map((recipe) => index.layers[layer].recipes[recipe].name);
  if (recipes.length > 1) {
    const shown = index.layers[layer].recipes[shownRecipe(layer, place)].name;
    bar.append(choices("Recipe", recipes.map((name) => [name, name]), shown,
      (name) => setOption("recipe", name), true));
  }
  if (there.length > 1) {
    bar.append(choices("Pictures", there.map((one) => [one, KINDS[one].title]), kind,
      (one) => setOption("kind", one)));
  }
  if (there.length && kind === "best_X") {
    const steps = [1, 2, 4].map((times) => [times, `${times}×`]);
    bar.append(choices("Contrast", steps, options.contrast, (times) => setOption("contrast", times), true));
  }
  if (runs.some((run) => run.window)) {
    bar.append(choices("Show", [[false, "Receptive field"], [true, "Whole image"]], options.whole,
      (whole) => setOption("whole", whole)));
  }
  return bar;
}

// A row of buttons, one of which is selected.
function choices(label, values, chosen, choose, named = false) {
  const buttons = values.map(([value, text]) => make("button", {
    type: "button", "aria-pressed": String(value === chosen),
    onclick: () => choose(value),
  }, text));
  const group = make("div", { class: "switch", role: "group", "aria-label": label }, ...buttons);
  return named ? make("div", { class: "named" }, make("span", { "aria-hidden": "true" }, label), group) : group;
}

function tiles(route, pictures, kind) {
  const { layer, place } = route;
  const runs = pictures.filter((one) => one.run);
  const best = bestRun(runs.map((one) => one.run));
  const tile = (one) => link({ ...route, picture: one.id },
    { class: "tile", "data-seed": one.run?.seed ?? null, "data-picture": one.id,
      onpointerenter: () => mark(one.run?.seed), onpointerleave: () => mark(best?.seed),
      onfocus: () => mark(one.run?.seed) },
    one.frame(),
    make("span", { class: "caption" },
      make("span", { class: "name", title: one.title }, one.title),
      make("span", { class: "value" }, valueOf(one))));
  const seeds = make("div", { class: `tiles ${kind}` }, ...runs.map(tile));
  seeds.style.setProperty("--columns", columnsFor(runs.length));
  const tops = pictures.filter((one) => one.value !== undefined);
  const singles = pictures.filter((one) => !one.run && one.value === undefined);
  return make("div", {},
    runs.length ? seeds : null,
    tops.length ? make("section", { class: "tops", "aria-label": KINDS.max_im.title },
      make("h3", {}, KINDS.max_im.title),
      make("p", { class: "quiet" }, `${KINDS.max_im.about} The name and activation are below each.`),
      make("div", { class: "top-tiles" }, ...tops.map(tile))) : null,
    singles.length ? make("div", { class: "singles" }, ...singles.map((one) => make("figure", {},
      tile(one), KINDS[one.id] ? make("figcaption", {}, KINDS[one.id].about) : ""))) : null);
}

// The activation of a picture, if known.
function valueOf(one) {
  const value = one.run ? one.run.best?.[1] : one.value;
  return value === undefined || value === null ? "" : figure(value);
}

// Highlight one seed in the chart and the table.
function mark(seed) {
  for (const element of byId("unit").querySelectorAll(".run")) {
    element.classList.toggle("now", element.dataset.seed === String(seed));
  }
}

// The run with the highest activation, or the lowest if the ascent minimized it.
function bestRun(runs) {
  const known = runs.filter((run) => run.best && run.best[1] !== null);
  const sign = (run) => (run.down ? -1 : 1);
  return known.reduce((a, b) => (a && sign(a) * a.best[1] >= sign(a) * b.best[1] ? a : b), null);
}
