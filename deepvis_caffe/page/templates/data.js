// The data: the index embedded in the page, and the parts that are loaded on demand.

const index = JSON.parse(document.getElementById("index").textContent);

const hasDiagram = index.stages.length > 0;

// The kinds of pictures that a unit can have, in the order in which the page lists them.
const KINDS = {
  best_X: {
    title: "Without mean",
    about: "Without the mean: zero is mid-gray (best_X).",
  },
  best_Xpm: {
    title: "With mean",
    about: "With the mean added, as an image (best_Xpm).",
  },
  max_im: {
    title: "Top images",
    about: "The dataset images that activate the unit most, cropped to its receptive field.",
  },
  max_deconv: {
    title: "Deconv",
    about: "The parts of those images that activate the unit, by deconvolution.",
  },
  max_gradient: {
    title: "Gradient",
    about: "The pixels of those images that would raise or lower the activation, by its gradient.",
  },
  max_guided: {
    title: "Guided",
    about: "The parts of those images that activate the unit, by guided backpropagation.",
  },
  weights: {
    title: "Weights",
    about: "The unit's weights: in color if its input is the image, otherwise a patch per channel, red for positive and blue for negative.",
  },
};

// Make an element. Strings are inserted as text, so names and labels are never parsed as HTML.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  setAttributes(element, attributes);
  element.append(...children.filter((child) => child !== null));
  return element;
}

function setAttributes(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null) element.setAttribute(name, value);
  }
}

function byId(id) {
  return document.getElementById(id);
}

const OPTIMIZED = ["best_X", "best_Xpm"]; // the kinds that depend on the recipe

// Whether the unit at a place in its layer has pictures of a kind. Its montage counts as best_X.
function has(layer, place, kind) {
  const bits = index.bits[kind] | (kind === "best_X" ? index.bits.montage : 0);
  const there = OPTIMIZED.includes(kind) ? madeBy(layer, place, shownRecipe(layer, place)) : index.layers[layer].has[place];
  return (there & bits) !== 0;
}

function hasMontage(layer, place) {
  return (madeBy(layer, place, shownRecipe(layer, place)) & index.bits.montage) !== 0;
}

// The bits of a unit's optimized pictures made by one of its layer's recipes.
function madeBy(layer, place, recipe) {
  const { made, has: all } = index.layers[layer];
  const optimized = index.bits.montage | index.bits.best_X | index.bits.best_Xpm;
  return (made ? made[recipe][place] : all[place]) & optimized;
}

// The recipes that a unit has pictures of, best first, as indices into its layer's recipes.
function recipesOf(layer, place) {
  return index.layers[layer].recipes.map((_, recipe) => recipe).filter((recipe) => madeBy(layer, place, recipe));
}

// The recipe whose pictures are shown: the chosen one, or else the unit's best.
function shownRecipe(layer, place) {
  const there = recipesOf(layer, place);
  return there.find((recipe) => index.layers[layer].recipes[recipe].name === options.recipe) ?? there[0] ?? 0;
}

// The names of all recipes of the layers of these units.
function recipeNames(items) {
  const layers = new Set(items.map(([layer]) => layer));
  return [...new Set([...layers].flatMap((layer) => index.layers[layer].recipes.map(({ name }) => name)))];
}

function labelOf(layer, place) {
  const labels = index.layers[layer].labels;
  return labels ? labels[place] : "";
}

// The first of several synonyms: "tabby" of "tabby, tabby cat".
function shortLabel(layer, place) {
  return labelOf(layer, place).split(",")[0];
}

function unitTitle(layer, place) {
  const label = shortLabel(layer, place);
  return `unit ${index.layers[layer].units[place]}` + (label ? `, ${label}` : "");
}

// The equivalent unit of another layer whose pictures a unit shows: {layer, folder, unit, within},
// or null if the pictures are its own.
function shownAs(layer, place) {
  return index.layers[layer].shownAs?.[place] ?? null;
}

// Which equivalent unit a unit's pictures belong to, as text; empty if they are its own.
function shownAsText(layer, place) {
  const other = shownAs(layer, place);
  return other ? `same as ${other.layer}, unit ${other.unit}` : "";
}

const loading = new Map(); // promises, by the part's address
const arrived = new Map(); // contents, by "layer.part"

// Every part is a script that calls this function.
globalThis.deepvisPart = (key, content) => arrived.set(key, content);

// A promise of {runs, made, top, statistics, drivers} of a unit: its runs by the recipe shown,
// their parameters, its top images as [name, activation, class], its statistics over a dataset and
// its drivers; the last two are null if unknown.
function loadRuns(layer, place) {
  const { parts } = index.layers[layer];
  if (parts.length === 0) return Promise.resolve({ runs: [], made: [], top: [], statistics: null, drivers: null });
  const number = Math.floor(place / index.unitsPerPart);
  const address = parts[number];
  if (!loading.has(address)) {
    loading.set(address, loadScript(address).then(() => arrived.get(`${layer}.${number}`)));
  }
  return loading.get(address).then((part) => ({
    runs: part.runs[place % index.unitsPerPart].filter(({ recipe }) => recipe === shownRecipe(layer, place)),
    made: part.made,
    top: part.top?.[place % index.unitsPerPart] ?? [],
    statistics: part.statistics?.[place % index.unitsPerPart] ?? null,
    drivers: part.drivers?.[place % index.unitsPerPart] ?? null,
  }));
}

// A page opened from disk may not fetch files, but it may run scripts.
function loadScript(address) {
  return new Promise((resolve, reject) => {
    const failed = () => {
      loading.delete(address); // so that the next unit retries
      reject(new Error(`${address} is missing. It belongs next to this page; run deepvis gallery again.`));
    };
    document.head.append(make("script", { src: address, onload: resolve, onerror: failed }));
  });
}

// The units that match a search, as [layer, place]: every word must be the unit's number, or part
// of its label or its layer's name.
function findUnits(query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const found = [];
  index.layers.forEach((layer, number) => {
    const name = layer.name.toLowerCase();
    layer.units.forEach((unit, place) => {
      const text = `${layer.labels ? layer.labels[place].toLowerCase() : ""}\n${name}`;
      const fits = (word) => (/^\d+$/.test(word) ? Number(word) === unit : text.includes(word));
      if (words.every(fits)) found.push([number, place]);
    });
  });
  return found;
}

function allUnits(layer) {
  return index.layers[layer].units.map((_, place) => [layer, place]);
}
