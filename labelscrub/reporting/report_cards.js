// The list: a grid of cards of one height, of which only those near the window are there.

const BODY = 12.9; // rem under a card's pictures
const LEAST = 17.5; // rem a card is wide at least: the three choices fit, with a short label
const PAPER = 500; // cards that are printed
const AHEAD = 700; // px above and below the window that are there already
const box = byId("cards");
const nodes = new Map(); // index -> li
let visible = []; // indices in the order shown
let places = new Map(); // index -> its place among the visible
let current = -1; // index that the keys are about
let layout = { columns: 1, height: 1, gap: 0, width: 1 };
let printing = false;

function card(i) {
  const open = button(suspectPicture(i), { className: "picture", tabIndex: -1, title: "Show it larger (Enter)", ariaLabel: `Show rank ${list.rank[i]} larger` }, () => openView(i));
  const pictures = el("div", { className: "pictures" }, open, el("div", { className: "examples" }, ...examples(i)),
    el("span", { className: "rank", title: "rank" }, `#${count(list.rank[i])}`), el("span", { className: "verdict" }));
  if (list.conflict[i]) {
    const group = list.conflict[i];
    pictures.append(button(`conflict ${group}`, { className: "conflict", tabIndex: -1, title: "The same bytes are listed under another label too. Show them together." },
      () => filter({ ...ANY, show: `group ${group}` })));
  }
  const node = el("li", { className: "card", tabIndex: -1 }, pictures, el("div", { className: "body" },
    labelsOf(i),
    el("dl", { className: "scores" }, ...levelOf(i)),
    el("p", { className: "why", title: shown(list.why[i]) }, list.why[i] ? name(list.why[i], 200) : ""),
    el("div", { className: "file" }, el("code", { title: `${shown(list.path[i])} (row ${list.row[i]})` }, name(tail(list.path[i]) || `row ${list.row[i]}`)), copyButton(`path of rank ${list.rank[i]}`, list.path[i])),
    choicesOf(i)));
  node.dataset.index = i;
  return node;
}

function labelsOf(i) {
  const [given, suggested, sure] = [givenOf(i), suggestedOf(i), list.suggestedProb[i]];
  return el("dl", { className: "labels" },
    el("dt", null, "given"), el("dd", { className: "given", title: shown(given) }, name(given, 80)),
    el("dt", null, "looks like"), el("dd", { className: "suggested", title: shown(suggested) }, name(suggested, 80),
      sure === undefined || sure === null ? "" : el("span", { className: "sure", title: "the network's probability of this label" }, likely(sure))));
}

function meter(value) {
  const bar = el("i");
  bar.style.width = `${100 * Math.min(Math.max(value || 0, 0), 1)}%`;
  return el("dd", { className: "meter", ariaHidden: "true" }, bar);
}

function levelOf(i) {
  if (!data.calibrated) return [el("dt", null, "score"), meter(list.score[i]), el("dd", null, figure(list.score[i], 3))];
  const said = list.error[i] === null ? "not assessed" : `${likely(list.error[i])} wrong`;
  return [el("dt", { className: "unseen" }, "error probability"), el("dd", { className: "error" }, said), meter(list.error[i])];
}

// The buttons of a card or of the larger view; `paint` says which is pressed.
function choicesOf(i) {
  const to = suggestedOf(i);
  const make = (choice, label, title, ...inner) => {
    const node = button(inner, { tabIndex: -1, title, className: choice }, () => {
      if (node.getAttribute("aria-pressed") === "true") release(i);
      else settle(i, choice, label);
    });
    node.dataset.choice = choice;
    node.dataset.focus = choice;
    return node;
  };
  const group = el("div", { className: "choices", role: "group", ariaLabel: `Decide on rank ${list.rank[i]}` }, make("keep", "", "The given label is right (k)", icon(DONE), "Keep"));
  if (list.given[i] !== list.suggested[i]) group.append(make("relabel", to, `Relabel to ${shown(to)} (r)`, icon(ARROW), el("span", null, name(to, 40))));
  group.append(make("remove", "", "Leave the image out (x)", icon(CROSS), "Remove"));
  return group;
}

// What is decided about an image, on its card or in the larger view: words and an icon, not colour alone.
function paint(node, i) {
  const decision = decisions.get(i);
  node.dataset.decided = decision ? decision.choice : "";
  const verdict = node.querySelector(".verdict");
  verdict.replaceChildren();
  if (decision) verdict.append(icon({ keep: DONE, relabel: ARROW, remove: CROSS }[decision.choice]), decision.choice === "relabel" ? name(decision.label, 40) : decision.choice);
  for (const one of node.querySelectorAll(".choices [data-choice]")) {
    const pressed = decision && decision.choice === one.dataset.choice && (decision.choice !== "relabel" || decision.label === suggestedOf(i));
    one.setAttribute("aria-pressed", String(Boolean(pressed)));
  }
}

function place(node, i) {
  const at = places.get(i);
  const mine = i === current;
  const decision = decisions.get(i);
  const placed = [at, visible.length, mine, layout.columns, layout.width, layout.height, spoken(decision)].join(" ");
  if (node.dataset.placed === placed) return;
  node.dataset.placed = placed;
  node.tabIndex = mine ? 0 : -1;
  node.classList.toggle("current", mine);
  if (mine) node.setAttribute("aria-current", "true");
  else node.removeAttribute("aria-current");
  for (const inner of node.querySelectorAll("button")) inner.tabIndex = mine ? 0 : -1;
  node.setAttribute("aria-setsize", visible.length);
  node.setAttribute("aria-posinset", at + 1);
  node.setAttribute("aria-label", `Rank ${count(list.rank[i])}, given ${shown(givenOf(i), 60)}, looks like ${shown(suggestedOf(i), 60)}${decision ? `, decided: ${spoken(decision)}` : ""}`);
  node.style.transform = `translate(${(at % layout.columns) * (layout.width + layout.gap)}px, ${Math.floor(at / layout.columns) * (layout.height + layout.gap)}px)`;
}

// How many cards a line takes, and how high they are: at a new width, and at another size of text.
function measure() {
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const [wide, gap] = [box.clientWidth, 0.9 * rem];
  const columns = Math.max(1, Math.floor((wide + gap) / (LEAST * rem + gap)));
  const width = (wide - gap * (columns - 1)) / columns;
  const side = Math.round((2 * width) / 3);
  layout = { columns, gap, width, height: side + BODY * rem };
  for (const [key, value] of [["--side", side], ["--width", width], ["--height", layout.height]]) box.style.setProperty(key, `${value}px`);
  box.style.height = `${Math.max(0, Math.ceil(visible.length / columns) * (layout.height + gap) - gap)}px`;
}

// Put the cards near the window into the document, in their order, and take the others out.
function render() {
  const top = box.getBoundingClientRect().top;
  const line = layout.height + layout.gap;
  const first = printing ? 0 : Math.max(0, Math.floor((-top - AHEAD) / line)) * layout.columns;
  const last = printing ? PAPER : Math.max(0, Math.ceil((innerHeight - top + AHEAD) / line)) * layout.columns;
  const wanted = new Set(visible.slice(first, last));
  const held = document.activeElement && document.activeElement.closest(".card");
  for (const i of [current, held ? Number(held.dataset.index) : -1]) if (places.has(i)) wanted.add(i);
  for (const [i, node] of nodes) {
    if (wanted.has(i)) continue;
    node.remove();
    nodes.delete(i);
  }
  let after = null;
  for (const i of [...wanted].sort((a, b) => places.get(a) - places.get(b))) {
    let node = nodes.get(i);
    if (!node) {
      node = card(i);
      nodes.set(i, node);
      paint(node, i);
    }
    place(node, i);
    const next = after ? after.nextSibling : box.firstChild;
    if (next !== node) box.insertBefore(node, next);
    after = node;
  }
}

let asked = false;
function renderSoon() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    render();
  });
}

// Make an image the one that the keys are about; bring it into sight below what sticks to the top.
function select(i, { focus = true, scroll = true } = {}) {
  if (!places.has(i)) return;
  current = i;
  if (scroll) {
    const top = box.getBoundingClientRect().top + Math.floor(places.get(i) / layout.columns) * (layout.height + layout.gap);
    const stuck = [byId("tools"), byId("bar")].find((node) => getComputedStyle(node).position === "sticky");
    const free = (stuck ? stuck.offsetHeight : 0) + 12;
    if (top < free || layout.height > innerHeight - free) scrollBy(0, top - free);
    else if (top + layout.height > innerHeight - 12) scrollBy(0, top + layout.height - innerHeight + 12);
  }
  render();
  if (focus && nodes.has(i)) nodes.get(i).focus({ preventScroll: true });
}

function move(by) {
  if (!visible.length) return;
  const from = places.has(current) ? places.get(current) : by > 0 ? -1 : visible.length;
  const to = visible[Math.min(Math.max(from + by, 0), visible.length - 1)];
  if (view.open) {
    openView(to);
    say(altOf(to));
  } else select(inSight() ? to : current);
}

// Nobody decides about what they don't see: a key first brings the current card into sight.
function inSight() {
  if (view.open) return true;
  if (!nodes.has(current)) return false;
  const { top, bottom } = nodes.get(current).getBoundingClientRect();
  return bottom > 0 && top < innerHeight;
}

// The next image without a decision after `i`, from the start where there is none; -1 where all are decided.
function undecidedAfter(i) {
  const from = places.has(i) ? places.get(i) : -1;
  for (let step = 1; step <= visible.length; step++) {
    const other = visible[(from + step) % visible.length];
    if (!decisions.has(other)) return other;
  }
  return -1;
}

// Decide, and go on to the next undecided image.
function settle(i, choice, label) {
  const next = undecidedAfter(i);
  decide(i, choice, label);
  const to = next === -1 || next === i ? i : next;
  if (view.open) openView(to);
  else select(places.has(to) ? to : current); // a filter by decisions may have taken it out
  if (next === -1 || next === i) say(`All ${count(visible.length)} shown are decided. ${progress()}`);
}

function takeBack() {
  const i = undo();
  if (i < 0) return;
  if (!places.has(i)) filter(ANY); // hidden by a filter: show what was undone
  if (view.open) openView(i);
  else select(i);
}
