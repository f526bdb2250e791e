// Keyboard events -> key names. Keys of the browser itself (Ctrl, Alt, Meta, F5, Tab) are left to it.

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

// The name of an event's key, or null if the viewer does not handle it.
function keyName(event) {
  const written = event.getModifierState("AltGraph"); // types [ and ] on many keyboards
  if (event.isComposing || event.metaKey || (!written && (event.ctrlKey || event.altKey))) return null;
  if (Object.hasOwn(NAMES, event.key)) return NAMES[event.key];
  return /^[!-~]$/.test(event.key) ? event.key : null;
}

function watchKeys(press) {
  addEventListener("keydown", (event) => {
    const name = keyName(event);
    if (name === null || document.querySelector("dialog[open]")) return;
    const pressed = event.target.closest?.("button, summary, a"); // activated by enter and space
    if (pressed && (name === "enter" || name === "space")) return;
    event.preventDefault(); // else the browser would scroll, search or go back
    press(name);
  });
}
