// How pictures were made: the chart of the objective, a row for each run, and the parameters.

function unitRecord(layer, place, runs, made) {
  const known = runs.filter((run) => run.made !== undefined);
  if (known.length === 0) {
    return make("p", { class: "quiet unrecorded" }, runs.length || hasMontage(layer, place)
      ? "There is no record of how the optimized images were made."
      : "There are no optimized images of this unit.");
  }
  const picture = chart(known);
  const record = make("aside", { class: "record", "aria-label": "How they were made" },
    make("h3", {}, "Activation, step by step"),
    picture ?? make("p", { class: "quiet" }, "No steps were run."),
    ...everyNote(known),
    runTable(known),
    ...madeLists(known, made));
  const best = bestRun(known);
  for (const element of record.querySelectorAll(".run")) {
    element.classList.toggle("now", element.dataset.seed === String(best?.seed));
  }
  return record;
}

function everyNote(runs) {
  const every = Math.max(...runs.map((run) => run.history?.every ?? 1));
  return every > 1 ? [make("p", { class: "quiet note" }, `Each point is the best of ${every} steps.`)] : [];
}

function runTable(runs) {
  const cell = (text, attributes = {}) => make("td", attributes, text);
  const head = ["Seed", "Activation", "at step", "On top"].map((text) => make("th", { scope: "col" }, text));
  const row = (run) => make("tr", { class: "run", "data-seed": run.seed },
    make("th", { scope: "row" }, String(run.seed)),
    cell(figure(run.best[1])),
    cell(run.best[0] ?? "–"),
    cell(run.top === null ? "–" : `from step ${run.top}`,
      { class: run.top === null ? "never" : "top", title: onTop(run) }));
  const odd = runs.filter((run) => run.stop !== "finished");
  return make("div", {},
    make("table", { class: "runs" },
      make("caption", { class: "unseen" }, "The best step of each run"),
      make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...runs.map(row))),
    odd.length
      ? make("p", { class: "quiet" }, ...odd.map((run) => `Seed ${run.seed} ended early: ${run.stop}. `))
      : null);
}

function onTop(run) {
  return run.top === null
    ? "The unit was never the highest of its layer."
    : `The unit first became the highest of its layer at step ${run.top}.`;
}

// The parameters, one list for each group of seeds that share them.
function madeLists(runs, made) {
  const groups = new Map();
  for (const run of runs) groups.set(run.made, [...(groups.get(run.made) ?? []), run.seed]);
  return [...groups].map(([number, seeds]) => make("details", { class: "made", open: true },
    make("summary", {}, groups.size > 1 ? `Parameters of seeds ${seeds.join(", ")}` : "Parameters"),
    make("dl", {}, ...made[number].flatMap(([name, value]) =>
      [make("dt", {}, name), make("dd", {}, value)]))));
}
