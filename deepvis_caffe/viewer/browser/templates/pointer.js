// Mouse and touch -> moves, clicks, wheel steps. Dragging a finger turns the wheel.

const WHEEL = 100; // CSS pixels per step
const DRAG = 32; // of a finger, CSS pixels per step

function watchPointer(send) {
  const canvas = $("screen");
  let next = null; // last mouse position, to be sent before the next refresh
  let inside = false;
  let turned = 0;
  let finger = null; // {y: last position, dragged: true if it is not a tap}

  const flush = () => {
    if (!next) return;
    const place = next.place;
    next = null;
    if (place) send("move", place);
    else if (inside) send("leave");
    inside = Boolean(place);
  };
  const turn = (event, by) => {
    turned += by;
    const steps = Math.max(-20, Math.min(20, Math.trunc(turned)));
    turned -= steps;
    const place = screen_.place(event);
    if (steps && place) send("wheel", { ...place, steps });
  };

  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerType === "touch") {
      if (!finger) return;
      const by = (finger.y - event.clientY) / DRAG;
      if (!finger.dragged && Math.abs(by) < 0.5) return;
      finger = { y: event.clientY, dragged: true };
      return turn(event, by);
    }
    if (!next) requestAnimationFrame(flush);
    next = { place: screen_.place(event) };
  });
  canvas.addEventListener("pointerdown", (event) => {
    turned = 0;
    finger = event.pointerType === "touch" ? { y: event.clientY, dragged: false } : null;
  });
  canvas.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "touch") return;
    if (!next) requestAnimationFrame(flush);
    next = { place: null };
  });
  canvas.addEventListener("click", (event) => {
    const place = screen_.place(event);
    if (place && !finger?.dragged) send("click", place);
    finger = null;
  });
  canvas.addEventListener("wheel", (event) => {
    if (event.ctrlKey) return; // the browser's zoom
    event.preventDefault();
    turn(event, event.deltaY * { 0: 1, 1: 33, 2: 400 }[event.deltaMode] / WHEEL);
  }, { passive: false });
}
