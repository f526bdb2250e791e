// Uploads image files as the input, and offers saved screenshots and videos for download.

const MOST_BYTES = Number(document.documentElement.dataset.mostBytes);

// A URL of this server, with the token that the page was opened with.
function address(path, query = {}) {
  const url = new URL(path, location.href);
  url.search = location.search;
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  return url;
}

async function sendImage(file, visitor) {
  if (file.size > MOST_BYTES) {
    return bar.notice(`${file.name} is larger than ${Math.floor(MOST_BYTES / 2 ** 20)} MiB.`);
  }
  const url = address("image", { visitor, name: file.name });
  const answer = await fetch(url, { method: "POST", body: file }).catch(() => null);
  if (!answer) bar.notice(`${file.name} could not be sent.`);
  else if (!answer.ok) bar.notice(`${file.name}: ${(await answer.text()).trim()}`);
}

// Call back with an image file that is dropped onto the page or chosen.
function watchFiles(open) {
  const stage = $("stage");
  const mark = (on) => stage.classList.toggle("dropping", on);
  addEventListener("dragover", (event) => {
    event.preventDefault();
    if (event.dataTransfer.types.includes("Files")) mark(true);
  });
  addEventListener("dragleave", (event) => event.relatedTarget || mark(false));
  addEventListener("drop", (event) => {
    event.preventDefault(); // else the browser would leave the page and show the file
    mark(false);
    const [file] = event.dataTransfer.files;
    if (file) open(file);
    else bar.notice("Drop an image file; images from other pages cannot be used.");
  });
  onPress("open", () => $("file").click());
  $("file").addEventListener("change", () => {
    const [file] = $("file").files;
    $("file").value = ""; // so that the same file can be chosen again
    if (file) open(file);
    $("screen").focus();
  });
}

// Offer the saved files, the newest first.
function offerFiles(names) {
  const list = $("saved-list");
  if (JSON.stringify(names) === list.dataset.names) return;
  list.dataset.names = JSON.stringify(names);
  $("saved").hidden = !names.length;
  $("saved-count").textContent = names.length;
  list.replaceChildren(...names.toReversed().map((name) => {
    const link = document.createElement("a");
    link.href = address(`saved/${encodeURIComponent(name)}`);
    link.download = link.textContent = name;
    return link;
  }));
}
