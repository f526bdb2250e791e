// Buttons for common keys: each presses its key.

function watchButtons(press) {
  for (const button of document.querySelectorAll("#buttons button")) {
    button.addEventListener("click", (event) => {
      press(button.dataset.key);
      if (event.detail) $("screen").focus();
    });
  }
  onPress("more", () => {
    const shown = $("buttons").hidden;
    $("buttons").hidden = !shown;
    $("more").setAttribute("aria-pressed", String(shown));
  });
}
