// The upper part and the end of the page: figures, classes, heat maps, what was not used, facts.

function head(...names) {
  return el("thead", null, el("tr", null, ...names.map(([text, className]) => el("th", { scope: "col", className: className || "" }, text))));
}

function perClass() {
  const rows = [...data.perClass].sort((a, b) => b.assessed - a.assessed || (b.noise || 0) - (a.noise || 0) || b.suspects - a.suspects || compare(a.label, b.label));
  if (!rows.length) return;
  const index = new Map(classes.map((label, k) => [label, k]));
  const most = Math.max(...rows.map((c) => c.noise || 0), 0.01);
  const line = (c) => {
    const bar = c.noise ? el("i", { ariaHidden: "true" }) : "";
    if (bar) bar.style.width = `calc((100% - 4rem) * ${c.noise / most})`; // the rest is the figure's
    const share = c.assessed && c.noise !== null
      ? [bar, el("span", null, percent(c.noise))]
      : [el("span", { className: "none" }, "not assessed")];
    const label = c.suspects
      ? pairButton(index.get(c.label), -1, { className: "link", title: shown(c.label) }, name(c.label, 60))
      : name(c.label, 60);
    return el("tr", null, el("th", { scope: "row" }, label),
      el("td", { className: "number" }, count(c.suspects)),
      el("td", { className: "number hide-narrow" }, count(c.images)),
      el("td", { className: "number hide-narrow" }, c.accuracy === null ? "–" : percent(c.accuracy)),
      el("td", { className: "meter" }, el("div", { className: "track" }, ...share)));
  };
  const table = (lines) => el("table", { className: "bars wide" },
    head(["class"], ["suspects", "number"], ["images", "number hide-narrow"], ["accuracy", "number hide-narrow"], ["noise rate", "meter"]),
    el("tbody", null, ...lines.map(line)));
  const first = rows.length > 22 ? rows.slice(0, 20) : rows;
  byId("class-table").append(table(first));
  if (first.length < rows.length) {
    const rest = el("details", null, el("summary", null, `The other ${count(rows.length - first.length)} classes`));
    rest.addEventListener("toggle", () => { if (rest.open && rest.children.length === 1) rest.append(table(rows.slice(first.length))); });
    byId("class-table").append(rest);
  }
  byId("classes").hidden = false;
}

function matrix() {
  const [pairs, given, suggested] = [new Map(), new Map(), new Map()];
  const add = (map, key) => map.set(key, (map.get(key) || 0) + 1);
  for (let i = 0; i < total; i++) {
    if (list.given[i] === list.suggested[i]) continue; // a conflict whose label the network agrees with
    add(pairs, list.given[i] * classes.length + list.suggested[i]);
    add(given, list.given[i]);
    add(suggested, list.suggested[i]);
  }
  if (!pairs.size) return;
  const LIMIT = 20;
  const worst = (map) => [...map.keys()].sort((a, b) => map.get(b) - map.get(a) || a - b).slice(0, LIMIT).sort((a, b) => order.get(a) - order.get(b));
  const [rows, columns] = [worst(given), worst(suggested)];
  if (given.size > LIMIT || suggested.size > LIMIT) byId("confusion-hint").append(` The ${LIMIT} labels with the most suspects are shown.`);
  const most = Math.max(...pairs.values());
  const cell = (g, s) => {
    const n = pairs.get(g * classes.length + s) || 0;
    if (g === s) return el("td", { className: "same" });
    if (!n) return el("td");
    const td = el("td", { className: "some" },
      pairButton(g, s, { ariaLabel: `given ${shown(classes[g], 60)}, looks like ${shown(classes[s], 60)}: ${plural(n, "suspect")}` }, count(n)));
    td.style.setProperty("--weight", (0.15 + 0.85 * Math.sqrt(n / most)).toFixed(3));
    return td;
  };
  byId("matrix").append(grid("given ↓ / suggested →", rows, columns, cell));
  byId("confusion").hidden = false;
}

// A table of classes by classes; `cell` gives the td of a row's class and a column's.
function grid(corner, rows, columns, cell) {
  const label = (k, scope, ...inner) => el("th", { scope, title: shown(classes[k]) }, ...inner);
  const top = el("tr", null, el("th", { className: "corner" }, corner), ...columns.map((k) => label(k, "col", el("span", null, name(classes[k], 40)))));
  const body = rows.map((r) => el("tr", null, label(r, "row", name(classes[r], 40)), ...columns.map((c) => cell(r, c))));
  return el("table", { className: "matrix" }, el("thead", null, top), el("tbody", null, ...body));
}

function transition() {
  const { matrix, largest } = data.transition;
  if (matrix && matrix.some(Boolean)) {
    const known = [...order.keys()].filter((k) => matrix[k]);
    if (known.length < matrix.length) byId("transition-hint").append(" Of classes without a row nothing is known.");
    const most = Math.max(...known.flatMap((t) => matrix[t].filter((_, g) => g !== t)), 0.01);
    const cell = (t, g) => {
      const [share, seen] = [matrix[t][g], matrix[t][g] >= 0.005];
      const td = el("td", { className: t === g ? "right" : seen ? "some" : "", title: percent(share) }, seen ? (100 * share).toFixed(0) : "");
      td.style.setProperty("--weight", (0.1 + 0.9 * Math.sqrt(share / most)).toFixed(3));
      return td;
    };
    byId("shares").append(grid("true ↓ / given →", known, [...order.keys()], cell));
  } else if (largest && largest.length) {
    byId("transition-hint").textContent = "Where the largest estimated shares of a true class are given another label.";
    const lines = largest.map(([t, g, share]) => el("tr", null, ...[t, g].map((k) => el("td", null, name(classes[k], 60))), el("td", { className: "number" }, percent(share))));
    byId("shares").append(el("table", { className: "list" }, head(["true class"], ["given as"], ["share", "number"]), el("tbody", null, ...lines)));
  } else return;
  byId("transition").hidden = false;
}

// ---- the rest ----

function figures() {
  byId("figures").append(...data.figures.map(([value, what, detail]) => el("div", null,
    el("dt", null, what), el("dd", { className: "figure" }, value), el("dd", { className: "detail" }, detail))));
  byId("lead").textContent = total
    ? "Most likely wrong first. A suspect is a question, not a verdict: look at the picture and decide."
    : "";
  byId("lead").hidden = !total;
}

function unused() {
  if (!data.skippedTotal) return;
  byId("unused-title").textContent = `${plural(data.skippedTotal, "listed row")} not used`;
  byId("reasons").textContent = Object.entries(data.reasons).map(([reason, n]) => `${count(n)} ${shown(reason, 120)}`).join(" · ");
  const lines = data.skipped.map(([row, path, kind, reason]) => el("tr", null,
    el("td", { className: "number" }, count(row)), el("td", { className: "path" }, name(path)), el("td", null, kind), el("td", null, name(reason))));
  const cut = data.skippedTotal > lines.length ? `The first ${count(lines.length)} of ${count(data.skippedTotal)}; report.parquet has them all` : "Show them";
  const table = el("table", { className: "list" }, head(["row", "number"], ["path"], ["status"], ["reason"]), el("tbody", null, ...lines));
  byId("skipped").append(el("details", { open: lines.length <= 10 }, el("summary", null, cut), table));
  byId("unused").hidden = false;
}

function notes() {
  const texts = [...data.notes];
  if (data.notAssessed.length) texts.unshift(`Not assessed (too few images, or all in one fold): ${data.notAssessed.slice(0, 50).map((label) => `\u2068${shown(label, 80)}\u2069`).join(", ")}${data.notAssessed.length > 50 ? `, and ${count(data.notAssessed.length - 50)} more` : ""}.`);
  byId("note-list").append(...texts.map((text) => el("li", null, text)));
  byId("notes").hidden = texts.length === 0;
}

function facts() {
  for (const [title, pairs] of [["Settings", data.settings], ["Run", data.provenance]]) {
    if (!pairs.length) continue;
    byId("facts").append(el("div", null, el("h3", null, title),
      el("dl", null, ...pairs.map(([key, value]) => el("div", null, el("dt", null, key.replaceAll("_", " ")), el("dd", null, name(value, 200)))))));
  }
}
