// The data: the index that is embedded in the page, and the parts that are loaded when needed.

const index = JSON.parse(document.getElementById("index").textContent);

const hasDiagram = index.stages.length > 0;

// The kinds of pictures that a unit can have, in the order in which the page offers them.
const KINDS = {
  best_X: {
    title: "About gray",
    about: "Without the mean: mid-gray is zero (best_X).",
  },
  best_Xpm: {
    title: "With mean",
    about: "With the mean added, as the net's input looks (best_Xpm).",
  },
  max_im: {
    title: "Top images",
    about: "The images of a dataset that excite the unit most, cropped to what it sees.",
  },
  max_deconv: {
    title: "Deconv",
    about: "What in those images excites the unit, by deconvolution.",
  },
  max_gradient: {
    title: "Gradient",
    about: "What in those images would excite the unit more or less, by its gradient.",
  },
  max_guided: {
    title: "Guided",
    about: "What in those images excites the unit, by guided backpropagation.",
  },
  weights: {
    title: "Weights",
    about: "What the unit multiplies its input with: in color where that is the image; else a patch for each channel, red above zero and blue below.",
  },
};

// Make an element. Text goes in as text: names and labels are never read as HTML.
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

const OPTIMIZED = ["best_X", "best_Xpm"]; // the kinds that are made by recipes

// Whether a unit, at its place in its layer, has pictures of a kind. Its montage is about gray.
function has(layer, place, kind) {
  const bits = index.bits[kind] | (kind === "best_X" ? index.bits.montage : 0);
  const there = OPTIMIZED.includes(kind) ? madeBy(layer, place, shownRecipe(layer, place)) : index.layers[layer].has[place];
  return (there & bits) !== 0;
}

function hasMontage(layer, place) {
  return (madeBy(layer, place, shownRecipe(layer, place)) & index.bits.montage) !== 0;
}

// The bits of a unit's optimized pictures by one of its layer's recipes.
function madeBy(layer, place, recipe) {
  const { made, has: all } = index.layers[layer];
  const optimized = index.bits.montage | index.bits.best_X | index.bits.best_Xpm;
  return (made ? made[recipe][place] : all[place]) & optimized;
}

// The recipes of which a unit has pictures, the best there is first; indices into its layer's.
function recipesOf(layer, place) {
  return index.layers[layer].recipes.map((_, recipe) => recipe).filter((recipe) => madeBy(layer, place, recipe));
}

// The recipe whose pictures are shown: the one that was chosen, or else the best there is.
function shownRecipe(layer, place) {
  const there = recipesOf(layer, place);
  return there.find((recipe) => index.layers[layer].recipes[recipe].name === options.recipe) ?? there[0] ?? 0;
}

// The names of all recipes of some units' layers.
function recipeNames(items) {
  const layers = new Set(items.map(([layer]) => layer));
  return [...new Set([...layers].flatMap((layer) => index.layers[layer].recipes.map(({ name }) => name)))];
}

function labelOf(layer, place) {
  const labels = index.layers[layer].labels;
  return labels ? labels[place] : "";
}

// The first of several names that mean the same: "tabby" of "tabby, tabby cat".
function shortLabel(layer, place) {
  return labelOf(layer, place).split(",")[0];
}

function unitTitle(layer, place) {
  const label = shortLabel(layer, place);
  return `unit ${index.layers[layer].units[place]}` + (label ? `, ${label}` : "");
}

// The unit of another layer whose pictures a unit has, because it is the same: {layer, folder, unit,
// within}, or null where they are its own.
function shownAs(layer, place) {
  return index.layers[layer].shownAs?.[place] ?? null;
}

// Whose pictures a unit's are, in words; empty where they are its own.
function shownAsText(layer, place) {
  const other = shownAs(layer, place);
  return other ? `as ${other.layer}, unit ${other.unit}` : "";
}

const loading = new Map(); // promises, by the part's address
const arrived = new Map(); // contents, by "layer.part"

// Every part is a script that calls this.
globalThis.deepvisPart = (key, content) => arrived.set(key, content);

// The runs of a unit by the recipe that is shown, how they were made, its top images as [name,
// activation, class], what a data set says of it and what drives it, null where that is not known:
// a promise of {runs, made, top, statistics, drivers}.
function loadRuns(layer, place) {
  const { parts } = index.layers[layer];
  if (parts.length === 0) return Promise.resolve({ runs: [], made: [], top: [], statistics: null, drivers: null });
  const number = Math.floor(place / index.unitsAPart);
  const address = parts[number];
  if (!loading.has(address)) {
    loading.set(address, loadScript(address).then(() => arrived.get(`${layer}.${number}`)));
  }
  return loading.get(address).then((part) => ({
    runs: part.runs[place % index.unitsAPart].filter(({ recipe }) => recipe === shownRecipe(layer, place)),
    made: part.made,
    top: part.top?.[place % index.unitsAPart] ?? [],
    statistics: part.statistics?.[place % index.unitsAPart] ?? null,
    drivers: part.drivers?.[place % index.unitsAPart] ?? null,
  }));
}

// A page opened from disk may not fetch a file, but it may run one.
function loadScript(address) {
  return new Promise((resolve, reject) => {
    const failed = () => {
      loading.delete(address); // so that the next unit tries again
      reject(new Error(`${address} is missing. It belongs beside this page; make the page again.`));
    };
    document.head.append(make("script", { src: address, onload: resolve, onerror: failed }));
  });
}

// The units that fit a search, as [layer, place]: every word is the number of a unit, or part of
// its label or of its layer's name.
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
