// The keyboard -> names of keys. Whatever the browser uses itself (Ctrl, Alt, Meta, F5, Tab) is its own.

const NAMES = {
  ArrowLeft: "left",
  ArrowRight: "right",
  ArrowUp: "up",
  ArrowDown: "down",
  Escape: "esc",
  PageUp: "pgup",
  PageDown: "pgdn",
  Home: "home",
  End: "end",
  Enter: "enter",
  " ": "space",
  Backspace: "backspace",
  Delete: "delete",
};

// The name of the key that an event is about, or null where it is not for the viewer.
function keyName(event) {
  const written = event.getModifierState("AltGraph"); // [ and ] on many keyboards
  if (event.isComposing || event.metaKey || (!written && (event.ctrlKey || event.altKey))) return null;
  if (Object.hasOwn(NAMES, event.key)) return NAMES[event.key];
  return /^[!-~]$/.test(event.key) ? event.key : null;
}

function watchKeys(press) {
  addEventListener("keydown", (event) => {
    const name = keyName(event);
    if (name === null || document.querySelector("dialog[open]")) return;
    const pressed = event.target.closest?.("button, summary, a"); // by enter and space
    if (pressed && (name === "enter" || name === "space")) return;
    event.preventDefault(); // it would scroll, search or go back
    press(name);
  });
}
