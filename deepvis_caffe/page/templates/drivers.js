// A unit's drivers by the net's weights: the units of layers below that raise and lower it most.

function unitDrivers({ query }, { means, raising, lowering }) {
  if (!raising.length && !lowering.length) return null;
  const signed = (value) => (value < 0 ? "−" : "+") + figure(Math.abs(value));
  const row = (title, some) => {
    if (!some.length) return null;
    const made = some.map(([name, unit, value]) => {
      const layer = index.layers.findIndex((one) => one.name === name);
      return relative(layer, unit, value, query, { words: signed, name, kinds: ["best_X", "max_im"] });
    });
    made.forEach(({ fill }) => fill());
    return make("div", {}, make("h3", {}, title), make("div", { class: "relatives" }, ...made.map(({ card }) => card)));
  };
  return make("section", { class: "relations drivers", "aria-label": "Drivers" },
    row("Raised by", raising), row("Lowered by", lowering),
    make("p", { class: "quiet" }, means
      ? "By weights, times the mean activation over the dataset."
      : "By weights alone."));
}
