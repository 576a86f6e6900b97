// The fixed scale and the marks of the token strip, in words.
function dark(root) {
  const probe = document.createElement("span");
  probe.style.color = "var(--st-background-color, #ffffff)";
  root.appendChild(probe);
  const [r, g, b] = getComputedStyle(probe).color.match(/\d+(\.\d+)?/g).map(Number);
  probe.remove();
  return 0.2126 * r + 0.7152 * g + 0.0722 * b < 128;
}

export default function ({ parentElement, data }) {
  const root = parentElement.querySelector(".legend");
  const colours = data[dark(root) ? "dark" : "light"];
  const item = (className, text) => {
    const span = document.createElement("span");
    const mark = document.createElement("span");
    mark.className = className;
    mark.textContent = text;
    span.appendChild(mark);
    return span;
  };
  const bar = document.createElement("span");
  const strip = document.createElement("span");
  strip.className = "bar";
  strip.style.background = `linear-gradient(to right, ${colours.join(", ")})`;
  bar.append(`${data.domain[0]} · the same`, strip, `${data.domain[1]} · as far apart as can be`);
  bar.title = `${data.label}: ${data.plain}. Fixed scale, the same for every text.`;
  root.replaceChildren(
    bar,
    item("quiet", data.noise),
    item("hatch", "fixed heading"),
    item("parted", "parts from base here"),
  );
}
