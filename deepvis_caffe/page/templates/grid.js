// The grid of units. It is as tall as all its cards, but contains only the visible ones and a row
// above and below, so ten thousand units cost no more than fifty, and a picture is requested only
// when its card comes into view.

class Grid {
  constructor(root) {
    this.root = root;
    this.items = []; // [layer, place]
    this.kind = "best_X";
    this.cards = new Map(); // by index into items
    this.current = 0; // the card that Tab focuses
    this.due = false;
    const later = () => this.updateSoon();
    addEventListener("scroll", later, { passive: true });
    new ResizeObserver(later).observe(root.parentElement);
    root.addEventListener("focusin", (event) => {
      const card = event.target.closest("li");
      if (card) this.choose(Number(card.dataset.place));
    });
  }

  // Show other units, or another kind of picture.
  show(items, kind, makeLink) {
    for (const place of [...this.cards.keys()]) this.drop(place);
    Object.assign(this, { items, kind, makeLink, current: 0 });
    this.update();
  }

  updateSoon() {
    if (this.due) return;
    this.due = true;
    requestAnimationFrame(() => {
      this.due = false;
      this.update();
    });
  }

  // Cards are squares with a caption, as many per row as fit.
  measure() {
    const style = getComputedStyle(this.root);
    const [least, gap, caption] = ["--least", "--gap", "--caption"].map((name) =>
      parseFloat(style.getPropertyValue(name)));
    const room = this.root.clientWidth;
    this.columns = Math.max(2, Math.floor((room + gap) / (least + gap)));
    this.width = (room - gap * (this.columns - 1)) / this.columns;
    this.step = { x: this.width + gap, y: this.width + caption + gap };
    this.rows = Math.ceil(this.items.length / this.columns);
    this.root.style.height = `${Math.max(0, this.rows * this.step.y - gap)}px`;
  }

  update() {
    if (!this.root.clientWidth) return; // hidden behind a unit
    this.measure();
    const top = this.root.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(-top / this.step.y) - 1);
    const last = Math.min(this.rows - 1, Math.floor((innerHeight - top) / this.step.y) + 1);
    const [from, to] = [first * this.columns, Math.min(this.items.length, (last + 1) * this.columns)];
    for (const place of [...this.cards.keys()]) {
      const focused = this.cards.get(place).contains(document.activeElement);
      if ((place < from || place >= to) && !focused) this.drop(place);
    }
    for (let place = from; place < to; place += 1) this.put(place);
    if (!this.cards.has(this.current) && from < to) this.choose(from);
  }

  put(place) {
    if (!this.cards.has(place)) {
      const card = this.card(place);
      this.cards.set(place, card);
      // Tab and screen readers follow document order.
      const next = [...this.cards.keys()].filter((other) => other > place).sort((a, b) => a - b)[0];
      this.root.insertBefore(card, next === undefined ? null : this.cards.get(next));
      const [layer, number] = this.items[place];
      fillCard(card.querySelector(".space"), layer, number, kindFor(layer, number, this.kind));
    }
    const card = this.cards.get(place);
    const [row, column] = [Math.floor(place / this.columns), place % this.columns];
    card.style.width = `${this.width}px`;
    card.style.transform = `translate(${column * this.step.x}px, ${row * this.step.y}px)`;
  }

  drop(place) {
    const card = this.cards.get(place);
    dropPictures(card);
    card.remove();
    this.cards.delete(place);
  }

  card(place) {
    const [layer, number] = this.items[place];
    const { name, units } = index.layers[layer];
    const label = shortLabel(layer, number);
    const kind = kindFor(layer, number, this.kind); // another kind if it lacks the chosen one
    const caption = make("span", { class: "caption" },
      make("span", { class: "number" }, String(units[number])),
      make("span", { class: "label" }, label),
      kind === this.kind || !kind ? null : make("span", { class: "kind" }, KINDS[kind].title.toLowerCase()),
      make("span", { class: "of" }, name));
    const card = this.makeLink(layer, number, {
      "aria-label": `${name}, ${unitTitle(layer, number)}`,
      tabindex: place === this.current ? 0 : -1,
    }, make("span", { class: "space" }), caption);
    card.title = [`${name}, unit ${units[number]}`, labelOf(layer, number), shownAsText(layer, number)].filter(Boolean).join("\n");
    return make("li", {
      "data-place": place, "aria-setsize": this.items.length, "aria-posinset": place + 1,
    }, card);
  }

  choose(place) {
    this.cards.get(this.current)?.querySelector("a").setAttribute("tabindex", -1);
    this.current = place;
    this.cards.get(place)?.querySelector("a").setAttribute("tabindex", 0);
  }

  // Move the focus by a number of cards, or into the grid if it is elsewhere.
  move(by) {
    if (this.items.length === 0) return;
    const inside = this.root.contains(document.activeElement);
    const place = inside ? this.current + by : this.firstInView();
    if (place >= 0 && place < this.items.length) this.focus(place);
  }

  focus(place) {
    this.reveal(place);
    this.choose(place);
    this.cards.get(place).querySelector("a").focus({ preventScroll: true });
  }

  // Scroll just enough to bring a card into view.
  reveal(place) {
    this.measure();
    const covered = Math.max(0, document.querySelector(".masthead").getBoundingClientRect().bottom);
    const top = this.root.getBoundingClientRect().top + Math.floor(place / this.columns) * this.step.y;
    const bottom = top + this.step.y;
    if (top < covered + 12) scrollBy(0, top - covered - 12);
    else if (bottom > innerHeight) scrollBy(0, bottom - innerHeight + 12);
    this.update();
  }

  firstInView() {
    const covered = document.querySelector(".masthead").getBoundingClientRect().bottom;
    const seen = [...this.cards.keys()].sort((a, b) => a - b).find((place) =>
      this.cards.get(place).getBoundingClientRect().top >= covered - 1);
    return seen ?? this.current;
  }
}
