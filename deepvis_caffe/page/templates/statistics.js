// A unit's statistics over a dataset: how strongly and how often it is active, and which units it
// is correlated with.

function unitStatistics(route, known) {
  const { images, counts, alike } = known;
  return make("aside", { class: "record statistics", "aria-label": "Over a dataset" },
    make("h3", {}, `Over ${amount(images)} ${images === 1 ? "image" : "images"}`),
    counts.length ? histogram(known) : null,
    known.dead ? make("p", { class: "dead" }, "Dead: not above 0 for any image.") : null,
    make("dl", {},
      ...fact("mean ± std", `${figure(known.mean)} ± ${figure(known.deviation)}`),
      ...fact("strongest", figure(known.highest)),
      ...fact("active in", share(known.active)),
      ...fact("zeros", share(known.zeros)),
      ...(alike.length ? fact("correlated with", ...alike.flatMap((one) => [unitLink(route, one), " "])) : [])));
}

function fact(name, ...value) {
  return [make("dt", {}, name), make("dd", {}, ...value)];
}

// A histogram of images by the unit's strongest activation; each bin is wider than the one before.
function histogram({ counts, edges }) {
  const most = Math.max(...counts);
  const bar = (count, place) => make("span", {
    title: `${amount(count)} ${count === 1 ? "image" : "images"}: ${range(edges[place], edges[place + 1])}`,
    style: `height: ${count ? Math.max(2, (100 * count) / most) : 0}%`,
  });
  return make("figure", {},
    make("div", { class: "bars", role: "img", "aria-label": "Number of images by the unit's strongest activation" },
      ...counts.map((count, place) => make("span", { class: "bin" }, bar(count, place)))),
    make("div", { class: "ends" },
      make("span", {}, edges[0] === null ? "" : figure(edges[0])),
      make("span", {}, "strongest activation"),
      make("span", {}, edges.at(-1) === null ? "" : figure(edges.at(-1)))));
}

function range(low, high) {
  if (low === 0) return "0";
  if (low === null) return `under ${figure(high)}`;
  return high === null ? `${figure(low)} or more` : `${figure(low)} to ${figure(high)}`;
}

function share(value) {
  return `${(100 * value).toFixed(value > 0 && value < 0.1 ? 1 : 0)} %`;
}

// A unit and its correlation, as a link if the page has pictures of the unit.
function unitLink({ layer, query }, [unit, value]) {
  const text = `${unit} (${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)})`;
  const place = index.layers[layer].units.indexOf(unit);
  return place < 0 ? make("span", {}, text) : link({ layer, place, query, picture: null }, {}, text);
}
