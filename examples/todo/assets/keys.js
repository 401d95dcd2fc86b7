// Keys for what the page's buttons do. Only the click reaches the app, not every key that is pressed.

const isField = (element) => element.matches("input, textarea");

function buttonFor(event) {
  const key = event.key.toLowerCase();
  const withControl = event.ctrlKey || event.metaKey;
  if (withControl && !isField(event.target)) {
    if (key === "y" || (key === "z" && event.shiftKey)) return document.querySelector("#redo");
    if (key === "z") return document.querySelector("#undo");
  }
  return null;
}

function onKeyDown(event) {
  const field = event.target;
  const button = buttonFor(event);
  if (button) {
    event.preventDefault();
    button.click();
  } else if (event.key === "/" && !isField(field)) {
    event.preventDefault();
    document.querySelector("#new-todo").focus();
  } else if (field.matches("input.text") && (event.key === "Enter" || event.key === "Escape")) {
    if (event.key === "Escape") field.value = field.dataset.original;
    field.blur(); // saves, if the text is another one
  }
}

document.addEventListener("keydown", onKeyDown);
