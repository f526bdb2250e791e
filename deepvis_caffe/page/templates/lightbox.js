// One picture, as large as the window allows, with the facts from its record.

async function showLightbox(route) {
  const box = byId("lightbox");
  const { layer, place } = route;
  const known = await loadRuns(layer, place);
  if (formatRoute(current) !== formatRoute(route)) return; // closed or changed since
  const kind = OPTIMIZED.find((one) => route.picture.startsWith(`${one}.`)) ?? optimizedKind(known.runs);
  const pictures = picturesOf(layer, place, known, kind);
  const here = pictures.findIndex((one) => one.id === route.picture);
  if (here < 0) {
    turn({ ...route, picture: null });
    return;
  }
  const step = (by, says, sign) => make("button", {
    type: "button", class: "step", "aria-label": says, title: says,
    disabled: pictures[here + by] === undefined, onclick: () => turnPicture(by),
  }, sign);
  const one = pictures[here];
  const pressed = document.activeElement?.title; // the buttons are recreated
  box.replaceChildren(
    make("div", { class: "stage" }, one.frame()),
    make("div", { class: "beside" },
      make("p", { class: "crumbs" }, index.layers[layer].name),
      make("h2", {}, `Unit ${index.layers[layer].units[place]}`,
        make("span", { class: "label" }, shortLabel(layer, place))),
      shownAs(layer, place) ? make("p", { class: "quiet" }, shownAsText(layer, place)) : "",
      make("p", {}, one.run ? `${KINDS[kind].title}, ${one.title}`
        : one.value === undefined ? one.title : `Top image ${Number(one.id.split(".")[1]) + 1}: ${one.title}`),
      ...(one.run?.made === undefined ? [] : runFacts(one.run)),
      one.value === undefined ? "" : make("p", {}, `Activation ${valueOf(one)}.`),
      make("p", { class: "quiet" }, make("a", { href: one.address, target: "_blank" }, "Open the file"))),
    make("div", { class: "steps" },
      step(-1, "Previous picture (←)", "←"), step(1, "Next picture (→)", "→"),
      make("span", { class: "quiet" }, `${here + 1} of ${pictures.length}`),
      make("button", { type: "button", class: "step close", "aria-label": "Close (Esc)",
        title: "Close (Esc)", onclick: closeLightbox }, "×")));
  box.pictures = pictures;
  if (!box.open) {
    box.showModal();
    box.focus(); // instead of its first link
  } else [...box.querySelectorAll("button")].find((one) => one.title === pressed && !one.disabled)?.focus();
}

function runFacts(run) {
  const drawn = chart([run]);
  drawn?.querySelector(".run")?.classList.add("now");
  const best = run.best[0] === null ? "No step had a finite activation."
    : `Activation ${figure(run.best[1])} at step ${run.best[0]}.`;
  return [...(drawn ? [drawn] : []), make("p", {}, `${best} ${onTop(run)}`)];
}

function turnPicture(by) {
  const { pictures } = byId("lightbox");
  const next = pictures[pictures.findIndex((one) => one.id === current.picture) + by];
  if (next) turn({ ...current, picture: next.id });
}

function closeLightbox() {
  leave({ ...current, picture: null });
}

// The browser closes a dialog on Esc. Here that is a step up, so the address must change too.
byId("lightbox").addEventListener("cancel", (event) => {
  event.preventDefault();
  closeLightbox();
});
byId("lightbox").addEventListener("close", () => {
  if (current.picture) closeLightbox(); // in case the browser fired no cancel event
});
byId("lightbox").addEventListener("click", (event) => {
  if (event.target === event.currentTarget || event.target.classList.contains("stage")) closeLightbox();
});
