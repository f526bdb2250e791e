// The bar above the picture, and the veil over it while there is no connection.

const $ = (id) => document.getElementById(id);

const bar = {
  timer: 0,

  link(state) {
    $("dot").dataset.link = state;
    $("dot").title = { up: "Connected", trying: "Not connected", over: "The session has ended" }[state];
  },

  // Show a message briefly. It replaces the other text of the bar, so it covers nothing.
  notice(text) {
    clearTimeout(this.timer);
    $("notice").textContent = $("notice").title = text;
    $("bar").classList.add("saying");
    this.timer = setTimeout(() => this.clear(), 3000 + 60 * text.length);
  },

  clear() {
    $("notice").textContent = $("notice").title = "";
    $("bar").classList.remove("saying");
  },

  // Show who is connected, and who is in control.
  status({ title, visitor, visitors, controller }) {
    document.title = $("title").textContent = title;
    const mine = visitor === controller;
    const alone = visitors === 1;
    $("who").textContent = mine
      ? alone ? "" : `You are in control \u00b7 ${visitors} visitors`
      : `Visitor ${controller} is in control \u00b7 you are ${visitor} of ${visitors}`;
    $("take").hidden = mine;
  },

  rate(pictures) {
    $("rate").textContent = pictures ? `${pictures} fps` : "still";
  },

  veil(title, text, again = false) {
    $("veil-title").textContent = title;
    $("veil-text").textContent = text;
    $("again").hidden = !again;
    $("veil").hidden = !title;
    $("screen").classList.toggle("stale", Boolean(title));
    if (title) $("rate").textContent = "";
  },
};

// A button that does not take the keyboard focus from the viewer when clicked.
function onPress(id, action) {
  $(id).addEventListener("click", (event) => {
    action();
    if (event.detail) $("screen").focus(); // clicked, not activated by a key
  });
}

function watchFullScreen() {
  const root = document.documentElement;
  $("full").hidden = !document.fullscreenEnabled;
  onPress("full", async () => {
    if (document.fullscreenElement) return document.exitFullscreen();
    await root.requestFullscreen();
    navigator.keyboard?.lock?.(["Escape"]); // for the viewer; holding it down still leaves full screen
  });
  document.addEventListener("fullscreenchange", () =>
    $("full").setAttribute("aria-pressed", String(Boolean(document.fullscreenElement))));
}
