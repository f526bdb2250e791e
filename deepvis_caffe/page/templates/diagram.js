// The diagram of the net: one box per stage (layers of one resolution), in the order of the net.
// Layers are links, and slabs show the size of their maps.

const MOST_WITHOUT = 8; // names of layers without pictures to list in a box

function showDiagram(before) {
  const root = byId("stages");
  if (!root.children.length) {
    const largest = Math.max(...index.stages.map(({ extent }) => side(extent)));
    root.append(...index.stages.map((stage, number) => stageBox(stage, number, largest)));
  }
  if (before.diagram) return;
  scrollTo(0, 0);
  const from = formatRoute({ layer: before.layer });
  [...root.querySelectorAll("a")].find((one) => one.getAttribute("href") === from)?.focus();
  say("The net");
}

function stageBox({ extent, layers, reads }, number, largest) {
  const slab = make("span", { class: "slab", "aria-hidden": "true" });
  slab.style.height = `${(100 * Math.log2(1 + side(extent))) / Math.log2(1 + largest)}%`;
  const there = layers.map((name) => index.layers.findIndex((one) => one.name === name));
  const without = layers.filter((_, place) => there[place] < 0);
  const entry = (name, layer) => make("li", {}, link({ layer }, {},
    make("span", {}, ...breakable(name)), make("span", { class: "quiet" }, amount(index.layers[layer].units.length))));
  const none = without.length === 0 ? null
    : make("li", { class: "quiet without", title: without.join("\n") }, without.length <= MOST_WITHOUT
      ? without.join(", ") : `${amount(without.length)} layers`, " without pictures");
  return make("li", { class: "stage-box", "aria-label": `Stage ${number + 1}: ${mapSize(extent)}` },
    make("div", { class: "slab-room", "aria-hidden": "true" }, slab),
    make("h3", {}, mapSize(extent)),
    otherThanBefore(reads, number),
    make("ul", {}, ...layers.flatMap((name, place) => there[place] < 0 ? [] : [entry(name, there[place])]), none));
}

// A layer's name, which may break after each slash.
function breakable(name) {
  return name.split(/(?<=\/)/).flatMap((part, place) => place ? [make("wbr"), part] : [part]);
}

// The stages that a stage reads, if not just the previous one.
function otherThanBefore(reads, number) {
  if (reads.length === 0 ? number === 0 : reads.length === 1 && reads[0] === number - 1) return null;
  const words = reads.map((one) => mapSize(index.stages[one].extent)).join(", ");
  return make("p", { class: "quiet" }, reads.length ? `reads ${words}` : "reads the input");
}

function side(extent) {
  return extent.length ? Math.sqrt(extent.slice(-2).reduce((a, b) => a * b, 1)) : 1;
}

function mapSize(extent) {
  return extent.length ? extent.join(" × ") : "1 × 1";
}

// Left and right move to the first layer of the neighboring box, up and down from layer to layer.
function moveInDiagram(event) {
  const boxes = [...byId("stages").children].map((box) => [...box.querySelectorAll("a")]).filter((links) => links.length);
  const box = boxes.findIndex((links) => links.includes(document.activeElement));
  if (box < 0) return boxes[0]?.[0].focus();
  const sideways = event.key === "ArrowLeft" || event.key === "ArrowRight";
  const next = sideways ? boxes[box + direction(event)]?.[0]
    : boxes[box][boxes[box].indexOf(document.activeElement) + direction(event)];
  next?.focus();
}
