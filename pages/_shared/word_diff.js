// Two answers side by side; what only one of them has is marked. They scroll together.
// Every text goes through textContent: model output is untrusted.

function side(data, theme) {
  const made = document.createElement("div");
  made.className = "side";
  made.dataset.testid = "diff-side";
  made.style.setProperty("--speaker", data.colour[theme]);
  const title = document.createElement("div");
  title.className = "side-title";
  title.textContent = `${data.mark} ${data.title}`;
  const text = document.createElement("div");
  text.className = "side-text";
  text.tabIndex = 0;
  for (const [words, shared] of data.stretches) {
    const span = document.createElement("span");
    if (!shared) span.className = "alone";
    span.textContent = words;
    text.appendChild(span);
  }
  const note = document.createElement("div");
  note.className = "side-note";
  note.textContent = data.note;
  note.hidden = !data.note;
  text.hidden = Boolean(data.note);
  made.append(title, note, text);
  return made;
}

export default function (component) {
  const { parentElement, data } = component;
  const root = parentElement.querySelector(".pair");
  const theme = isDark(root) ? "dark" : "light";
  const sides = data.sides.map((one) => side(one, theme));
  root.replaceChildren(...sides);
  const [left, right] = sides.map((one) => one.querySelector(".side-text"));
  let leading = left;
  for (const [one, other] of [[left, right], [right, left]]) {
    one.addEventListener("pointerenter", () => (leading = one));
    one.addEventListener("focus", () => (leading = one));
    one.addEventListener("scroll", () => {
      if (leading !== one) return;
      const room = one.scrollHeight - one.clientHeight;
      other.scrollTop = room > 0 ? (one.scrollTop / room) * (other.scrollHeight - other.clientHeight) : 0;
    });
  }
}
