// Which cards are shown, in which order.

const ANY = { given: -1, suggested: -1, split: -1, show: "all", decided: "all", query: "", from: null, to: null };
const state = { ...ANY, sort: "rank" };

const haystack = list.path.map((path, i) => [path, list.why[i], givenOf(i), suggestedOf(i)].join("\n").toLowerCase());
const byRank = (a, b) => list.rank[a] - list.rank[b];
const sorts = { // what isn't assessed comes last
  rank: byRank,
  score: (a, b) => (level(b) ?? -1) - (level(a) ?? -1) || byRank(a, b),
  "-score": (a, b) => (level(a) ?? 2) - (level(b) ?? 2) || byRank(a, b),
  given: (a, b) => order.get(list.given[a]) - order.get(list.given[b]) || byRank(a, b),
  suggested: (a, b) => order.get(list.suggested[a]) - order.get(list.suggested[b]) || byRank(a, b),
  path: (a, b) => compare(list.path[a], list.path[b]) || byRank(a, b),
};

function matches(i, words) {
  if (state.given >= 0 && list.given[i] !== state.given) return false;
  if (state.suggested >= 0 && list.suggested[i] !== state.suggested) return false;
  if (state.split >= 0 && list.split[i] !== state.split) return false;
  if (state.show === "suspects" && !list.isSuspect[i]) return false;
  if (state.show === "conflicts" && !list.conflict[i]) return false;
  if (state.show.startsWith("group ") && list.conflict[i] !== Number(state.show.slice(6))) return false;
  if (state.decided !== "all") {
    const decision = decisions.get(i);
    if (state.decided === "no" ? decision : !decision || (state.decided !== "yes" && decision.choice !== state.decided)) return false;
  }
  if (state.from !== null && !(level(i) >= state.from && level(i) !== null)) return false;
  if (state.to !== null && !(level(i) <= state.to && level(i) !== null)) return false;
  return words.every((word) => haystack[i].includes(word));
}

const filtered = () => Object.keys(ANY).some((key) => state[key] !== ANY[key]);

// `inPlace`: an image that a decision took out of the list gives its place to the one after it.
function update(inPlace = false) {
  const words = state.query.split(/\s+/);
  visible = [];
  for (let i = 0; i < total; i++) if (matches(i, words)) visible.push(i);
  visible.sort(sorts[state.sort]);
  const before = places.get(current) ?? 0;
  places = new Map(visible.map((i, at) => [i, at]));
  if (!places.has(current)) current = visible.length ? visible[inPlace ? Math.min(before, visible.length - 1) : 0] : -1;
  const none = visible.length === 0;
  byId("empty").hidden = !none;
  if (none) byId("empty").replaceChildren(...emptyNote());
  byId("reset").disabled = !filtered();
  for (const one of document.querySelectorAll("[data-given]")) {
    const pressed = Number(one.dataset.given) === state.given && Number(one.dataset.suggested) === state.suggested;
    one.setAttribute("aria-pressed", String(pressed));
  }
  markRange();
  describe();
  measure();
  render();
}

function describe() {
  const cut = list.total > total ? ` The page holds the first ${count(total)} of ${count(list.total)}; suspects.csv has them all.` : "";
  const extra = list.total - list.suspects;
  const what = extra > 0 ? `${plural(list.suspects, "suspect")}, and ${plural(extra, "image")} listed only as conflicting ${extra === 1 ? "duplicate" : "duplicates"}` : plural(list.suspects, "suspect");
  byId("count").hidden = total === 0;
  byId("count").textContent = (filtered() ? `${count(visible.length)} of ${count(total)} match.` : `${what}.`) + cut + (printing && visible.length > PAPER ? ` The first ${count(PAPER)} are printed.` : "");
}

function emptyNote() {
  if (!total) return [el("b", null, "No suspects"), "No label stood out as wrong. What the network can't tell apart it can't flag: the accuracy above says how far to trust this."];
  const clear = button("Clear filters", null, () => filter(ANY));
  if (state.decided === "no" && decisions.size === total) return [el("b", null, "All decided"), progress(), el("div", null, clear)];
  return [el("b", null, "No suspect matches"), "Nothing fits all the filters at once.", el("div", null, clear)];
}

// Change filters from anywhere on the page, show them in the controls, and go to the cards.
function filter(change) {
  Object.assign(state, change);
  const show = byId("show");
  for (const option of [...show.options]) if (option.value.startsWith("group ") && option.value !== state.show) option.remove();
  if (state.show.startsWith("group ") && show.value !== state.show) show.add(new Option(`conflict ${state.show.slice(6)}`, state.show));
  for (const id of ["show", "decided", "given", "suggested", "split", "query", "from", "to"]) byId(id).value = state[id] ?? "";
  update();
  byId("suspects").scrollIntoView();
}

// A button that filters by a pair of labels (-1: any), and unfilters when pressed again.
function pairButton(given, suggested, props, ...children) {
  const node = button(children, props, () => {
    const on = node.getAttribute("aria-pressed") === "true";
    filter({ ...ANY, given: on ? -1 : given, suggested: on ? -1 : suggested });
  });
  node.dataset.given = given;
  node.dataset.suggested = suggested;
  return node;
}

function fill(select, column, noun, names, before) {
  const counts = new Map();
  for (const k of column) counts.set(k, (counts.get(k) || 0) + 1);
  const known = [...counts.keys()].sort(before);
  select.add(new Option(`any (${plural(counts.size, noun)})`, -1));
  for (const k of known) select.add(new Option(`${shown(names[k], 60)} (${count(counts.get(k))})`, k));
}

function controls() {
  const byOrder = (a, b) => order.get(a) - order.get(b);
  fill(byId("given"), list.given, "label", classes, byOrder);
  fill(byId("suggested"), list.suggested, "label", classes, byOrder);
  fill(byId("split"), list.split, "split", list.splits, (a, b) => a - b);
  byId("split-field").hidden = list.splits.length < 2;
  const conflicts = list.conflict.filter(Boolean).length;
  const suspected = list.isSuspect.filter(Boolean).length;
  byId("show-field").hidden = conflicts === 0;
  if (data.calibrated) {
    for (const option of byId("sort").options) option.text = option.text.replace("score", LEVEL);
    byId("range-title").textContent = "Error probability";
  }
  for (const [what, n] of [["all", total], ["suspects", suspected], ["conflicts", conflicts]]) byId("show").add(new Option(`${what} (${count(n)})`, what));
  for (const id of ["given", "suggested", "split"]) byId(id).addEventListener("change", (event) => { state[id] = Number(event.target.value); update(); });
  for (const id of ["show", "decided"]) byId(id).addEventListener("change", (event) => filter({ [id]: event.target.value }));
  byId("sort").addEventListener("change", (event) => { state.sort = event.target.value; update(); });
  for (const id of ["from", "to"]) byId(id).addEventListener("input", (event) => { state[id] = event.target.value === "" ? null : Number(event.target.value); update(); });
  let pause = 0;
  byId("query").addEventListener("input", (event) => {
    clearTimeout(pause);
    pause = setTimeout(() => { state.query = event.target.value.trim().toLowerCase(); update(); }, 120);
  });
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("controls").addEventListener("reset", (event) => {
    event.preventDefault();
    filter(ANY);
  });
  byId("tools").hidden = total === 0;
}
