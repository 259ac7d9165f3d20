// A button that copies the text of its model.
// Browsers allow the clipboard to pages of https and of this machine only, and some not even then.
// Selecting a text and copying it is allowed to a script during a click.
function copyBySelection(text) {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "cs-hidden";
  area.setAttribute("readonly", "");
  document.body.append(area);
  area.select();
  const success = document.execCommand("copy");
  area.remove();
  return success;
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

function render({ model, el }) {
  const button = document.createElement("button");
  const status = document.createElement("span");
  button.type = "button";
  button.className = "lm-Widget jupyter-widgets jupyter-button widget-button";
  status.setAttribute("role", "status");
  status.setAttribute("aria-live", "polite");
  el.classList.add("cs-copy");
  el.dataset.lmSuppressShortcuts = "true";  // Enter presses the button instead of running a cell
  const show = () => { button.textContent = model.get("description"); };
  const clear = () => { status.textContent = ""; };
  button.addEventListener("click", async () => {
    const success = await copyText(model.get("text"));
    status.textContent = success ? "copied" : "select the text to copy it";
    button.focus();
  });
  model.on("change:description", show);
  model.on("change:text", clear);
  show();
  el.append(button, status);
  return () => { model.off("change:description", show); model.off("change:text", clear); };
}

export default { render };
