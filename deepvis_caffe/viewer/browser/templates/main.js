// Connects the parts.

let status_ = {};
let size = null;

const mine = () => status_.visitor !== undefined && status_.visitor === status_.controller;

link.on = {
  open() {
    bar.link("up");
    bar.veil("", "");
    bar.clear();
    if (size) link.send({ type: "size", ...size });
  },
  picture(blob) {
    const { socket } = link;
    screen_.take(blob, () => socket === link.socket && link.send({ type: "ack" }));
  },
  status(words) {
    const gained = !mine();
    status_ = words;
    bar.status(words);
    offerFiles(words.saved);
    if (!mine() && webcam.stream) webcam.stop();
    if (mine() && gained && webcam.stream) link.send({ type: "webcam", on: true }); // reconnected
  },
  webcam({ on, trouble }) {
    if (trouble) bar.notice(`The server could not read the webcam: ${trouble}`);
    if (on && webcam.stream) webcam.next((blob) => link.sendBytes(blob));
    if (!on && webcam.stream) webcam.stop();
  },
  quit({ visitors }) {
    $("quit-text").textContent = visitors > 1
      ? `It ends for all ${visitors} visitors, and the program that serves it ends, too.`
      : "The program that serves it ends, too.";
    $("quit").showModal();
  },
  close() {
    $("quit").close();
    status_ = {};
    bar.link("trying");
    const seen = screen_.drawn > 0;
    bar.veil(
      seen ? "Connection lost" : "No connection",
      seen ? "Reconnecting. This is the last picture received."
        : "Trying again. Is the viewer running, and the tunnel to it?",
      true,
    );
  },
  ended({ reason }) {
    over("The session has ended", reason || "Start the viewer again, then reload this page.");
  },
  refused() {
    over("This address no longer opens the viewer", "Open the one that its terminal shows now.");
  },
};

function over(title, text) {
  status_ = {};
  bar.link("over");
  bar.veil(title, text);
  $("who").textContent = "";
  for (const id of ["take", "webcam", "open", "more", "buttons", "saved"]) $(id).hidden = true;
  $("quit").close();
  webcam.stop();
}

// Whether the visitor is in control; if not, the bar says so.
function may() {
  if (link.up && !mine()) bar.notice("Press \u201cTake control\u201d first.");
  return link.up && mine();
}

const press = (key) => may() && link.send({ type: "key", key });
watchKeys(press);
watchButtons(press);
watchFiles((file) => may() && sendImage(file, status_.visitor));
watchPointer((kind, place = {}) => {
  if (kind === "click" ? may() : mine()) link.send({ type: "mouse", kind, ...place });
});
watchSize((room) => {
  size = room;
  link.send({ type: "size", ...size });
});
watchFullScreen();
$("quit-no").addEventListener("click", () => $("quit").close());
$("quit-yes").addEventListener("click", () => {
  $("quit").close();
  if (may()) link.send({ type: "quit" });
});
$("quit").addEventListener("close", () => $("screen").focus());
onPress("take", () => link.send({ type: "take" }));
onPress("webcam", () => {
  if (webcam.stream) {
    webcam.stop();
    link.send({ type: "webcam", on: false });
  } else if (may()) webcam.start((message) => link.send(message));
});
$("webcam").setAttribute("aria-disabled", String(!webcam.allowed));
setInterval(() => link.up && bar.rate(screen_.measure()), 500);
addEventListener("pagehide", () => webcam.stop());
$("screen").focus();
link.watch();
link.connect();
