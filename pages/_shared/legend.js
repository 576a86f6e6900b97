// The fixed scale and the marks of the token strip, in words.

export default function ({ parentElement, data }) {
  const root = parentElement.querySelector(".legend");
  const colours = data[isDark(root) ? "dark" : "light"];
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
  const [low, high] = data.domain.map((end) => Number(end.toPrecision(2)));
  const unit = data.unit === "1" ? "" : ` ${data.unit}`;
  if (data.steps.length) bar.append(data.steps[0], strip, data.steps.at(-1));
  else if (data.signed) bar.append(`≤ ${low}${unit} · rarer`, strip, `≥ ${high}${unit} · likelier`);
  else if (high === 1) bar.append(`${low} · the same`, strip, `${high} · as far apart as can be`);
  else bar.append(`${low}`, strip, `≥ ${high}${unit}`);
  bar.title = `${data.label}: ${data.plain}. Fixed scale, the same for every text.`;
  root.replaceChildren(
    bar,
    item("quiet", data.noise),
    item("hatch", "fixed heading"),
    ...(data.parted ? [item("parted", "parts from base here")] : []),
    ...Object.entries(data.terms).map(([name, line]) => {
      const span = item("term", name);
      span.firstChild.style.borderBottom = `3px ${line.style} ${line[isDark(root) ? "dark" : "light"]}`;
      return span;
    }),
  );
}
