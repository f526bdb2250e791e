// Draws pictures from the server. The canvas has the picture's size; CSS scales it to the page.

const MOST_DENSE = 2; // picture pixels per CSS pixel; more would be invisible, and cost time

const screen_ = {
  canvas: $("screen"),
  context: $("screen").getContext("2d", { alpha: false }),
  waiting: null, // the newest picture received, as a Blob
  count: 0, // how many were received since the last one drawn
  busy: false,
  drawn: 0,

  // Draw it before the screen's next refresh, then acknowledge all pictures received. A hidden page
  // has no refreshes, so it acknowledges nothing and is sent nothing.
  take(blob, acknowledge) {
    this.waiting = blob;
    this.count += 1;
    if (!this.busy) this.work(acknowledge);
  },

  async work(acknowledge) {
    this.busy = true;
    while (this.waiting) {
      const [blob, count] = [this.waiting, this.count];
      [this.waiting, this.count] = [null, 0];
      const bitmap = await createImageBitmap(blob).catch(() => null);
      await new Promise(requestAnimationFrame);
      if (bitmap) this.draw(bitmap);
      for (let i = 0; i < count; i++) acknowledge();
    }
    this.busy = false;
  },

  draw(bitmap) {
    const { canvas } = this;
    if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
      [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
    }
    this.context.drawImage(bitmap, 0, 0);
    bitmap.close();
    this.drawn += 1;
    this.measure(performance.now());
  },

  times: [], // of pictures drawn within the last second
  measure(now) {
    if (now !== undefined) this.times.push(now);
    const since = performance.now() - 1000;
    while (this.times.length && this.times[0] < since) this.times.shift();
    return this.times.length;
  },

  // The position of a pointer in the picture: {y, x} in its pixels, or null if outside.
  place(event) {
    const { canvas } = this;
    const box = canvas.getBoundingClientRect();
    const scale = Math.min(box.width / canvas.width, box.height / canvas.height);
    const left = box.left + (box.width - canvas.width * scale) / 2;
    const top = box.top + (box.height - canvas.height * scale) / 2;
    const x = Math.floor((event.clientX - left) / scale);
    const y = Math.floor((event.clientY - top) / scale);
    return x >= 0 && y >= 0 && x < canvas.width && y < canvas.height ? { y, x } : null;
  },
};

// Call back with the size available for the picture, in pixels, debounced.
function watchSize(changed) {
  let timer = 0;
  let last = "";
  const report = (entry) => {
    const dense = devicePixelRatio;
    const exact = entry.devicePixelContentBoxSize?.[0]; // as rounded by the browser
    const width = exact?.inlineSize ?? entry.contentRect.width * dense;
    const height = exact?.blockSize ?? entry.contentRect.height * dense;
    const scale = Math.min(1, MOST_DENSE / dense);
    const size = { width: Math.round(width * scale), height: Math.round(height * scale) };
    if (JSON.stringify(size) === last) return;
    clearTimeout(timer);
    timer = setTimeout(() => {
      last = JSON.stringify(size);
      changed(size);
    }, last ? 150 : 0);
  };
  const observer = new ResizeObserver((entries) => report(entries[entries.length - 1]));
  try {
    observer.observe($("screen"), { box: "device-pixel-content-box" });
  } catch {
    observer.observe($("screen"));
  }
}
