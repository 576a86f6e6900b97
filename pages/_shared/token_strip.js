// Lanes of text as tokens, side by side or stacked: coloured by a fixed scale, with numbers on hover or focus.
// Draws only what Python sends; every text goes through textContent, model output is untrusted.

const LEAST_REM = 16;  // how wide a lane must at least be to stand beside another

function channels(hex) {
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
}

function colourOf(value, scale, theme) {
  const colours = scale[theme];
  const [low, high] = scale.domain;
  const place = Math.min(Math.max((value - low) / (high - low), 0), 1) * (colours.length - 1);
  const index = Math.min(Math.floor(place), colours.length - 2);
  const [a, b] = [channels(colours[index]), channels(colours[index + 1])];
  return a.map((x, i) => Math.round(x + (b[i] - x) * (place - index)));
}

function paint(span, value, data, theme) {
  span.classList.toggle("pending", value === null);
  const quiet = value !== null && Math.abs(value) < data.noise;
  span.classList.toggle("quiet", quiet);
  if (value === null || quiet) {
    span.style.backgroundColor = "";
    span.style.color = "";
    return;
  }
  const rgb = colourOf(value, data.scale, theme);
  span.style.backgroundColor = `rgb(${rgb.join(",")})`;
  span.style.color = luminance(rgb) > 0.179 ? "#000000" : "#FFFFFF";
}

// The leading space and the ink of a token: only the ink is coloured, so no colour hangs at the end of a line.
function shownText(text, part, spaces) {
  if (part === "end") return ["", " end"];
  if (text === "") return ["", "·"]; // the rest of a character shown at an earlier token
  const newlines = text.replace(/\n/g, "↵\n");
  // A mark with a place to break after it, so that lines wrap as they do without.
  const shown = spaces ? newlines.replace(/ /g, "␣\u200b").replace(/\t/g, "⇥\t") : newlines;
  if (spaces) return ["", shown];
  const ink = shown.trimStart();
  return ink ? [shown.slice(0, shown.length - ink.length), ink] : ["", shown];
}

function percent(logp) {
  const p = Math.exp(logp) * 100;
  if (p > 99 && p < 100) return "> 99 %";
  return p >= 10 ? `${p.toFixed(0)} %` : p >= 0.1 ? `${p.toFixed(1)} %` : "< 0.1 %";
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function choices(title, list) {
  const column = element("div", "choices");
  column.appendChild(element("div", "choices-title", title));
  for (const [text, logp] of list) {
    const row = element("div", "choice");
    row.appendChild(element("span", "choice-text", JSON.stringify(text).slice(1, -1) || "·"));
    row.appendChild(element("span", "choice-p", percent(logp)));
    column.appendChild(row);
  }
  return column;
}

function showDetails(state, index) {
  const { data, card, spans } = state;
  const [text, value, part, term] = data.tokens[index];
  card.replaceChildren();
  const title = element("div", "card-title");
  title.appendChild(element("span", "", JSON.stringify(text)));
  title.appendChild(element("span", "card-part", part === "format" ? "fixed heading" : term ? `${part} · ${term}` : part));
  card.appendChild(title);
  const detail = data.details[index];
  if (detail) {
    const [kl, rank] = detail;
    card.appendChild(element("div", "", `KL(tuned‖base) ${kl.toPrecision(2)} nats · base's choice no. ${rank}`));
  }
  if (value === null) {
    card.appendChild(element("div", "", "Not scored yet."));
  } else {
    card.appendChild(element("div", "", `${data.scale.label} ${value.toPrecision(2)}`));
    if (Math.abs(value) < data.noise) card.appendChild(element("div", "", "Below numerical noise: no difference."));
  }
  if (detail) {
    const [, , base, tuned] = detail;
    const columns = element("div", "columns");
    columns.appendChild(choices("Base would write", base));
    columns.appendChild(choices("Fine-tuned would write", tuned));
    card.appendChild(columns);
  }
  card.hidden = false;
  const box = spans[index].getBoundingClientRect();
  const size = card.getBoundingClientRect();
  const left = Math.min(Math.max(box.left, 8), window.innerWidth - size.width - 8);
  const below = box.bottom + 6 + size.height < window.innerHeight;
  card.style.left = `${left}px`;
  card.style.top = `${below ? box.bottom + 6 : Math.max(8, box.top - size.height - 6)}px`;
}

function focusToken(state, index) {
  const next = Math.min(Math.max(index, 0), state.spans.length - 1);
  if (state.spans[state.active]) state.spans[state.active].tabIndex = -1;
  state.active = next;
  state.spans[next].tabIndex = 0;
  state.spans[next].focus();
}

function makeToken(state, index) {
  const span = element("span", "token");
  span.setAttribute("role", "button");
  span.tabIndex = index === state.active ? 0 : -1;
  span.addEventListener("mouseenter", (event) => {
    // What a click opens moves the text: a token that comes to lie under a resting pointer was not asked for.
    const rests = state.clickedAt && event.screenX === state.clickedAt[0] && event.screenY === state.clickedAt[1];
    if (!rests) showDetails(state, index);
  });
  span.addEventListener("focus", () => showDetails(state, index));
  span.addEventListener("mouseleave", () => (state.card.hidden = true));
  span.addEventListener("blur", () => (state.card.hidden = true));
  span.addEventListener("click", (event) => {
    state.clickedAt = [event.screenX, event.screenY];
    state.card.hidden = true;
    state.pick(index);
  });
  span.addEventListener("keydown", (event) => {
    const moves = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: state.spans.length - 1 };
    if (event.key in moves) {
      event.preventDefault();
      focusToken(state, moves[event.key]);
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      state.pick(index);
    } else if (event.key === "Escape") {
      state.card.hidden = true;
    }
  });
  return span;
}

// The first token of the final answer, where there is reasoning before it; −1 while the reasoning is open.
function answerStart(tokens) {
  const reasoning = tokens.findIndex((token) => token[2] === "reasoning");
  if (reasoning < 0) return 0;
  return tokens.findIndex((token, index) => index > reasoning && token[2] === "answer");
}

function arrange(state) {
  const { data, spans, panels } = state;
  const start = answerStart(data.tokens);
  const hasReasoning = data.tokens.some((token) => token[2] === "reasoning");
  panels.reasoning.hidden = !hasReasoning;
  const unfinished = hasReasoning && start < 0;
  panels.reasoningTitle.textContent = !unfinished
    ? "Reasoning"
    : data.running ? "Reasoning …" : "Reasoning (not finished)";
  panels.answerTitle.hidden = !hasReasoning || unfinished;
  spans.forEach((span, index) => {
    const home = hasReasoning && (start < 0 || index < start) ? panels.reasoningText : panels.answerText;
    if (span.parentElement !== home) home.appendChild(span);
  });
}

function build(root) {
  const state = { spans: [], drawn: [], active: 0 };
  const head = element("div", "head");
  state.dot = element("span", "dot", "●");
  state.title = element("span", "title");
  head.append(state.dot, state.title);
  const reasoning = element("div", "panel");
  const reasoningTitle = element("div", "panel-title");
  const reasoningText = element("div", "text");
  reasoning.append(reasoningTitle, reasoningText);
  const answerTitle = element("div", "panel-title", "Final answer");
  const answerText = element("div", "text");
  state.panels = { reasoning, reasoningTitle, reasoningText, answerTitle, answerText };
  state.empty = element("div", "empty");
  state.shared = element("div", "shared-note");
  state.note = element("div", "note");
  state.card = element("div", "card");
  state.card.hidden = true;
  const body = element("div");
  body.append(state.empty, reasoning, answerTitle, answerText, state.note, state.card);
  root.replaceChildren(head, state.shared, body);
  return state;
}

// −1: as in base's answer so far; 0: the first token that differs; 1: after it, or not compared.
function sharing(data, index) {
  if (!data.shared) return 1;
  return data.parted === null ? -1 : Math.sign(index - data.parted);
}

function drawLane(root, data, theme, pick) {
  if (!root.graft) root.graft = build(root);
  const state = root.graft;
  state.data = data;
  state.pick = pick;
  root.dataset.theme = theme;
  root.dataset.running = data.running ? "yes" : "no";
  const colour = data.colour ? data.colour[theme] : "var(--st-text-color)";
  state.dot.style.color = colour;
  state.title.textContent = data.title;
  state.title.style.color = colour;
  state.dot.textContent = data.mark;
  state.shared.textContent = data.shared;
  state.shared.hidden = data.colour === null;
  state.note.textContent = data.note;
  state.empty.textContent = data.tokens.length ? "" : data.running ? "Waiting for the first token …" : "No text.";
  root.style.setProperty("--speaker", colour);

  while (state.spans.length > data.tokens.length) state.spans.pop().remove();
  data.tokens.forEach(([text, value, part, term], index) => {
    const print = `${text}|${value}|${part}|${term}|${data.spaces}|${theme}|${data.noise}|${data.scale.label}|${sharing(data, index)}|${index === data.picked}`;
    if (state.drawn[index] === print && state.spans[index]) return;
    if (!state.spans[index]) state.spans[index] = makeToken(state, index);
    const span = state.spans[index];
    const [space, shown] = shownText(text, part, data.spaces);
    const ink = element("span", "ink", shown);
    span.replaceChildren(document.createTextNode(space), ink);
    span.dataset.part = part;
    const line = data.categories[term];
    ink.style.borderBottom = line ? `3px ${line.style} ${line[theme]}` : "";
    span.dataset.term = line ? term : "";
    span.setAttribute("aria-label", `${text}${value === null ? "" : `, ${value.toPrecision(2)}`}`);
    span.classList.toggle("joined", text === "");
    span.classList.toggle("parted", index === data.parted);
    span.classList.toggle("shared", sharing(data, index) < 0);
    span.classList.toggle("picked", index === data.picked);
    span.title = index === data.parted ? data.parted_words : "";
    paint(ink, value, data, theme);
    state.drawn[index] = print;
  });
  state.drawn.length = data.tokens.length;
  arrange(state);
}

// What a click opens may lie below the screen: it is brought into view once it is there.
function reveal(panel, looks = 40) {
  const found = document.querySelector(`.st-key-${panel}`);
  if (found) found.scrollIntoView({ block: "nearest", behavior: "smooth" });
  else if (looks) setTimeout(() => reveal(panel, looks - 1), 100);
}

// As many columns as there is room for, or fewer where as few rows are then fuller: five lanes stand as three and two.
function spread(root) {
  const least = LEAST_REM * parseFloat(getComputedStyle(document.documentElement).fontSize);
  const gap = parseFloat(getComputedStyle(root).columnGap);
  const most = Math.max(1, Math.floor((root.clientWidth + gap) / (least + gap)));
  const lanes = Math.max(1, root.childElementCount);
  const columns = Math.ceil(lanes / Math.ceil(lanes / most));
  root.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
}

export default function (component) {
  const { parentElement, data, setTriggerValue } = component;
  const root = parentElement.querySelector(".lanes");
  const theme = isDark(root) ? "dark" : "light";
  while (root.childElementCount > data.lanes.length) root.lastElementChild.remove();
  data.lanes.forEach((lane, number) => {
    if (!root.children[number]) {
      const made = element("div", "lane");
      made.dataset.testid = "lane";
      root.appendChild(made);
    }
    drawLane(root.children[number], lane, theme, (index) => {
      setTriggerValue("picked", [number, index]);
      if (data.panel) reveal(data.panel);
    });
  });
  spread(root);
  if (!root.watch) {
    root.watch = new ResizeObserver(() => spread(root));
    root.watch.observe(root);
  }
}
