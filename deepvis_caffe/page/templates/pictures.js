// Pictures: the addresses of their files, and elements that show them, cropped to a window.

const TREES = Object.fromEntries(
  ["max_im", "max_deconv", "max_gradient", "max_guided", "weights"].map((tree) => [tree, tree]),
);

// The address of a picture; `what` is "montage", one of TREES, the {rank} of a top image, or
// {seed, kind, ending}.
function pictureAddress(layer, place, what) {
  const { folder, units, recipes } = index.layers[layer];
  const other = shownAs(layer, place);
  const unit = String(other?.unit ?? units[place]).padStart(4, "0");
  const stem = encodeURIComponent(other?.folder ?? folder);
  const tree = TREES[what] ?? (what.rank === undefined ? "regularized_opt" : "max_im");
  const last =
    what === "montage" ? "_montage.jpg"
    : what === "weights" ? ".png"
    : typeof what === "string" ? ".jpg"
    : what.rank !== undefined ? `_${what.rank}.png`
    : `_${what.seed}_${what.kind}.${what.ending}`;
  const recipe = recipes[shownRecipe(layer, place)];
  const within = tree in TREES ? "" : withinAddress(other ? { within: other.within[recipe.name] } : recipe);
  return `${index.base}${tree}/${stem}/${within}${stem}_${unit}${last}`;
}

// The folder of a recipe within its layer's folder, as part of an address.
function withinAddress({ within }) {
  return within && `${encodeURIComponent(within)}/`;
}

// The picture of all units by the chosen recipe, or else by the first recipe that has one.
function wholeLayerAddress(layer) {
  const { folder, recipes } = index.layers[layer];
  const there = recipes.filter((one) => one.whole);
  const shown = there.find((one) => one.name === options.recipe) ?? there[0];
  return shown && `${index.base}regularized_opt/${encodeURIComponent(folder)}/${withinAddress(shown)}whole_layer.jpg`;
}

// A frame with a picture. `window` is (top, left, bottom, right) in pixels, or null for all of it.
function pictureFrame(address, alt, { window = null, kind = "" } = {}) {
  const image = make("img", { alt, decoding: "async", draggable: "false" });
  const frame = make("span", { class: `frame ${kind}` }, image);
  const size = windowSize(window);
  if (size) {
    frame.classList.add("cut");
    frame.style.aspectRatio = `${size.width} / ${size.height}`;
  }
  image.addEventListener("load", () => {
    if (size) cut(image, window, size);
    frame.classList.add("there");
  });
  image.addEventListener("error", () => {
    frame.classList.add("missing");
    frame.title = "This picture is missing or damaged.";
  });
  image.src = address;
  return frame;
}

function windowSize(window) {
  if (!window) return null;
  const [top, left, bottom, right] = window;
  const [width, height] = [right - left, bottom - top];
  return width > 0 && height > 0 ? { width, height } : null; // a unit may see only padding
}

// Position the image behind the frame so that only the window is visible.
function cut(image, [top, left], { width, height }) {
  image.style.width = `${(100 * image.naturalWidth) / width}%`;
  image.style.left = `${(-100 * left) / width}%`;
  image.style.top = `${(-100 * top) / height}%`;
}

// Remove the pictures from an element, so that the browser stops loading them.
function dropPictures(element) {
  for (const image of element.querySelectorAll("img")) image.removeAttribute("src");
}

// The kind to show of a unit: the wanted one, or another if the unit lacks it.
function kindFor(layer, place, wanted) {
  if (has(layer, place, wanted)) return wanted;
  return Object.keys(KINDS).find((kind) => has(layer, place, kind));
}

function columnsFor(count) {
  return Math.ceil(Math.sqrt(count));
}

// Fill a card with a unit's pictures of a kind: a montage if there is one, otherwise a picture for
// each seed, once the list of runs has loaded.
function fillCard(space, layer, place, kind) {
  const alt = `${KINDS[kind].title}: ${unitTitle(layer, place)}`;
  if (kind in TREES) {
    space.replaceChildren(pictureFrame(pictureAddress(layer, place, kind), alt, { kind }));
  } else if (kind === "best_X" && hasMontage(layer, place)) {
    space.replaceChildren(pictureFrame(pictureAddress(layer, place, "montage"), alt, { kind: "montage" }));
  } else {
    space.classList.add("mosaic");
    loadRuns(layer, place).then(({ runs }) => {
      if (!space.isConnected) return; // it has been scrolled out of view
      const shown = runs.filter((run) => run.pictures[kind]).slice(0, 9);
      space.style.setProperty("--columns", columnsFor(shown.length));
      space.replaceChildren(...shown.map((run) => runFrame(layer, place, run, kind)));
    }, complain);
  }
}

// The picture of one run, uncropped if `whole`.
function runFrame(layer, place, run, kind, whole = false) {
  const what = { seed: run.seed, kind, ending: run.pictures[kind] };
  const alt = `${KINDS[kind].title}: ${unitTitle(layer, place)}, seed ${run.seed}`;
  const window = whole ? null : run.window ?? null;
  return pictureFrame(pictureAddress(layer, place, what), alt, { window, kind });
}
