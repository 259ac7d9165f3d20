"""A button that puts a text on the clipboard in one click, and says whether it could."""

from __future__ import annotations

import anywidget
from traitlets import Unicode

__all__ = ["CopyButton"]

# Browsers give the clipboard to pages of https and of this machine only, and some not even then;
# what a user could do by hand, a script may do during a click.
_SCRIPT = """
function copiedByHand(text) {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "cs-hidden";
  area.setAttribute("readonly", "");
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copiedByHand(text);
  }
}

function render({ model, el }) {
  const button = document.createElement("button");
  const said = document.createElement("span");
  button.type = "button";
  button.className = "lm-Widget jupyter-widgets jupyter-button widget-button";
  said.setAttribute("role", "status");
  said.setAttribute("aria-live", "polite");
  el.classList.add("cs-copy");
  el.dataset.lmSuppressShortcuts = "true";  // Enter is the button's, not the notebook's
  const show = () => { button.textContent = model.get("description"); };
  const forget = () => { said.textContent = ""; };
  button.addEventListener("click", async () => {
    const done = await copied(model.get("text"));
    said.textContent = done ? "copied" : "select the text and copy it yourself";
    button.focus();
  });
  model.on("change:description", show);
  model.on("change:text", forget);
  show();
  el.append(button, said);
  return () => { model.off("change:description", show); model.off("change:text", forget); };
}

export default { render };
"""


class CopyButton(anywidget.AnyWidget):
    """A button that copies a text exactly as it is.

    Parameters
    ----------
    description
        What stands on the button.
    text
        What it copies; halves of surrogate pairs, which cannot be sent, become ``?``.
    """

    _esm = _SCRIPT

    description = Unicode("Copy").tag(sync=True)
    text = Unicode("").tag(sync=True)

    def __init__(self, description: str = "Copy", text: str = "") -> None:
        super().__init__(description=description)
        self.show(text)

    def show(self, text: str) -> None:
        """Take the text that the next click copies."""
        self.text = text.encode("utf-8", "replace").decode("utf-8")
