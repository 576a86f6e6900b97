// A row of squares, one per layer: click to switch, drag to paint, arrow keys and Enter from the keyboard.
// What is on comes from Python; changes go back as a list of layer numbers.

export default function (component) {
  const { parentElement, data, setTriggerValue } = component;
  const row = parentElement.querySelector(".layers");
  const state = (row.graft ??= { active: 0, painting: null });
  state.chosen = new Set(data.layers);
  row.style.setProperty("--on", data.colour);
  const send = () => setTriggerValue("layers", [...state.chosen].sort((a, b) => a - b));

  const set = (layer, on) => {
    if (on) state.chosen.add(layer);
    else state.chosen.delete(layer);
    draw();
  };
  const draw = () => {
    [...row.querySelectorAll("button")].forEach((button, layer) => {
      const on = state.chosen.has(layer);
      button.setAttribute("aria-pressed", on ? "true" : "false");
      button.title = `Layer ${layer}: ${on ? data.words[0] : data.words[1]}`;
      button.tabIndex = layer === state.active ? 0 : -1;
    });
  };

  if (row.childElementCount !== data.n) {
    row.replaceChildren();
    for (let layer = 0; layer < data.n; layer++) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = layer % 5 === 0 || layer === data.n - 1 ? String(layer) : "";
      button.setAttribute("aria-label", `Layer ${layer}`);
      row.appendChild(button);
    }
  }
  [...row.querySelectorAll("button")].forEach((button, layer) => {
    button.onpointerdown = (event) => {
      event.preventDefault();
      button.focus();
      state.painting = !state.chosen.has(layer);
      set(layer, state.painting);
      window.addEventListener("pointerup", () => { state.painting = null; send(); }, { once: true });
    };
    button.onpointerenter = () => { if (state.painting !== null) set(layer, state.painting); };
    button.onfocus = () => { state.active = layer; draw(); };
    button.onkeydown = (event) => {
      const moves = { ArrowRight: layer + 1, ArrowLeft: layer - 1, Home: 0, End: data.n - 1 };
      if (event.key in moves) {
        event.preventDefault();
        row.children[Math.min(Math.max(moves[event.key], 0), data.n - 1)].focus();
      } else if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        set(layer, !state.chosen.has(layer));
        send();
      }
    };
  });
  draw();
}
