// A chart of the objective's history: one SVG line per seed.

const CHART = { width: 340, height: 150, left: 46, right: 10, top: 10, bottom: 24 };

function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  setAttributes(element, attributes);
  element.append(...children);
  return element;
}

// A chart of the runs that have a history, or null if none has. Each line carries its seed.
function chart(runs) {
  const drawn = runs.filter((run) => run.history);
  if (drawn.length === 0) return null;
  const { width, height, left, right, top, bottom } = CHART;
  const low = Math.min(...drawn.map((run) => run.history.low));
  const high = Math.max(...drawn.map((run) => run.history.high));
  const last = Math.max(...drawn.map((run) => run.history.length - 1));
  const x = (step) => left + ((width - left - right) * step) / Math.max(last, 1);
  const y = (value) =>
    height - bottom - (height - top - bottom) * (high > low ? (value - low) / (high - low) : 0.5);
  const says =
    `Activation of ${drawn.length === 1 ? "one run" : `${drawn.length} runs`} over ${last + 1} ` +
    `steps, from ${figure(low)} to ${figure(high)}`;
  return svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": says },
    ...axes(low, high, last, x, y),
    ...drawn.map((run) => runLine(run, x, y)));
}

function axes(low, high, last, x, y) {
  const { width, height, left, right, bottom } = CHART;
  const lines = [low, ...(low < 0 && high > 0 ? [0] : []), high].map((value) =>
    svg("line", { class: value === 0 ? "zero" : "rule", x1: left, x2: width - right, y1: y(value), y2: y(value) }));
  const text = (content, px, py, anchor) =>
    svg("text", { x: px, y: py, "text-anchor": anchor }, content);
  return [
    ...lines,
    ...(high > low ? [text(figure(low), left - 6, y(low) + 4, "end")] : []),
    text(figure(high), left - 6, y(high) + 4, "end"),
    text("0", left, height - bottom + 16, "start"),
    text(`step ${last}`, x(last), height - bottom + 16, "end"),
  ];
}

// A run's line, broken where the activation was not finite, with a dot at its best step. A point
// may be the best of several steps: blurring makes the activation jump, so plotting every tenth
// step would show a wave that is not there (aliasing).
function runLine(run, x, y) {
  const { low, high, every, points } = run.history;
  const value = (point) => low + ((high - low) * point) / index.height;
  let path = "";
  let pen = "M";
  points.forEach((point, i) => {
    if (point === null) {
      pen = "M";
      return;
    }
    path += `${pen}${x(i * every + (every - 1) / 2).toFixed(1)} ${y(value(point)).toFixed(1)}`;
    pen = "L";
  });
  const [step, best] = run.best;
  const dot = step === null || best === null ? [] : [svg("circle", { cx: x(step), cy: y(best), r: 3 })];
  return svg("g", { class: "run", "data-seed": run.seed }, svg("path", { d: path }), ...dot);
}

// A number for display, with at most four digits.
function figure(value) {
  if (value === null || value === undefined) return "–";
  const text = Math.abs(value) >= 1e5 || (value !== 0 && Math.abs(value) < 1e-3)
    ? value.toExponential(2)
    : String(Number(value.toPrecision(4)));
  return text.replace("-", "−");
}
