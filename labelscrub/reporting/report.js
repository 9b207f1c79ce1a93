
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { classes, suspects: list } = data;
  const total = list.rank.length;
  const CHUNK = 200;
  const byId = (id) => document.getElementById(id);
  const count = (n) => n.toLocaleString("en-US");
  const plural = (n, noun) => `${count(n)} ${noun}${n === 1 ? "" : "s"}`;
  const percent = (x) => `${(100 * x).toFixed(1)} %`;
  // An image's error probability is never certain.
  const likely = (x) => (x <= 0.005 ? "<1 %" : x >= 0.995 ? ">99 %" : `${(100 * x).toFixed(0)} %`);
  const figure = (x, digits = 2) => (x === null ? "–" : x.toFixed(digits));

  // The only way anything enters the document: names become text nodes, never markup.
  function el(tag, props, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(props || {})) {
      if (name in node) node[name] = value;
      else node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  }

  // Controls and direction marks made visible; what is copied stays exact.
  const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
  const escaped = (c) => ({ "\n": "\\n", "\r": "\\r", "\t": "\\t" })[c] || "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0");
  function shown(text, limit = 400) {
    const cut = text.length > limit ? text.slice(0, limit - 1) + "…" : text;
    const seen = cut.replace(UNSEEN, escaped);
    return seen.trim() === "" ? `"${seen}"` : seen;
  }
  const tail = (path) => (path.length > 46 ? `…${path.slice(-45)}` : path); // the file name is what differs
  const name = (label, limit) => el("bdi", null, shown(label, limit));

  const state = { given: -1, suggested: -1, show: "all", query: "", sort: "rank" };
  let visible = [];
  let rendered = 0;

  // ---- the list ----

  const haystack = list.path.map((path, i) =>
    [path, list.why[i], classes[list.given[i]], classes[list.suggested[i]]].join("\n").toLowerCase());
  const compare = new Intl.Collator("en", { numeric: true }).compare;
  const order = new Map(classes.map((label, k) => [label, k]).sort((a, b) => compare(a[0], b[0])).map(([, k], at) => [k, at]));
  const byRank = (a, b) => list.rank[a] - list.rank[b];
  const level = (i, unknown) => (data.calibrated ? list.error[i] ?? unknown : list.score[i]); // what isn't assessed comes last
  const sorts = {
    rank: byRank,
    score: (a, b) => level(b, -1) - level(a, -1) || byRank(a, b),
    "-score": (a, b) => level(a, 2) - level(b, 2) || byRank(a, b),
    given: (a, b) => order.get(list.given[a]) - order.get(list.given[b]) || byRank(a, b),
    suggested: (a, b) => order.get(list.suggested[a]) - order.get(list.suggested[b]) || byRank(a, b),
    path: (a, b) => compare(list.path[a], list.path[b]) || byRank(a, b),
  };

  function matches(i) {
    if (state.given >= 0 && list.given[i] !== state.given) return false;
    if (state.suggested >= 0 && list.suggested[i] !== state.suggested) return false;
    if (state.show === "suspects" && !list.isSuspect[i]) return false;
    if (state.show === "conflicts" && !list.conflict[i]) return false;
    if (state.show.startsWith("group ") && list.conflict[i] !== Number(state.show.slice(6))) return false;
    return state.query.split(/\s+/).every((word) => haystack[i].includes(word));
  }

  function picture(i) {
    const bytes = list.picture[i];
    if (!bytes) {
      const why = i < list.pictureLimit ? "No picture" : `No picture beyond the first ${count(list.pictureLimit)}`;
      return el("span", { className: "none" }, why);
    }
    const img = el("img", {
      alt: `Image ranked ${list.rank[i]}, given ${shown(classes[list.given[i]], 60)}, looks like ${shown(classes[list.suggested[i]], 60)}`,
      decoding: "async",
    });
    img.addEventListener("load", () => img.classList.toggle("pixels", Math.max(img.naturalWidth, img.naturalHeight) <= 64));
    img.src = `data:image/webp;base64,${bytes}`;
    return img;
  }

  function meter(value) {
    const bar = el("i");
    bar.style.width = `${100 * Math.min(Math.max(value || 0, 0), 1)}%`;
    return el("dd", { className: "meter", ariaHidden: "true" }, bar);
  }

  function likelihood(i) {
    if (!data.calibrated) return [el("dt", null, "score"), meter(list.score[i]), el("dd", null, figure(list.score[i], 3))];
    const said = list.error[i] === null ? "not assessed" : `${likely(list.error[i])} wrong`;
    return [el("dt", { className: "unseen" }, "error probability"), el("dd", { className: "error" }, said), meter(list.error[i])];
  }

  function card(i) {
    const given = classes[list.given[i]];
    const suggested = classes[list.suggested[i]];
    const box = el("div", { className: "picture" }, picture(i), el("span", { className: "rank", title: "rank" }, `#${count(list.rank[i])}`));
    if (list.conflict[i]) {
      const group = list.conflict[i];
      const badge = el("button", { type: "button", className: "conflict", title: "The same bytes are listed under another label too. Show them together." }, `conflict ${group}`);
      badge.addEventListener("click", () => filter({ given: -1, suggested: -1, query: "", show: `group ${group}` }));
      box.append(badge);
    }
    const copy = el("button", { type: "button", title: "Copy path", ariaLabel: `Copy path of rank ${list.rank[i]}` }, icon(COPY));
    copy.addEventListener("click", () => copyText(list.path[i], copy));
    return el("li", { className: "card" }, box, el("div", { className: "body" },
      el("dl", { className: "labels" },
        el("dt", null, "given"), el("dd", { className: "given", title: shown(given) }, name(given, 80)),
        el("dt", null, "looks like"), el("dd", { className: "suggested", title: shown(suggested) }, name(suggested, 80))),
      el("dl", { className: "scores" },
        ...likelihood(i),
        el("dt", { title: "probability of the given label, by the network that was trained without this image" }, "self-confidence"), meter(list.confidence[i]), el("dd", null, figure(list.confidence[i], 3))),
      list.why[i] ? el("p", { className: "why", title: shown(list.why[i]) }, name(list.why[i], 200)) : "",
      el("div", { className: "file" }, el("code", { title: `${shown(list.path[i])} (row ${list.row[i]})` }, name(tail(list.path[i]) || `row ${list.row[i]}`)), copy)));
  }

  const COPY = "M6 5.5V3.2A1.2 1.2 0 0 1 7.2 2h5.6A1.2 1.2 0 0 1 14 3.2v5.6a1.2 1.2 0 0 1-1.2 1.2H10.5M3.2 6h5.6A1.2 1.2 0 0 1 10 7.2v5.6A1.2 1.2 0 0 1 8.8 14H3.2A1.2 1.2 0 0 1 2 12.8V7.2A1.2 1.2 0 0 1 3.2 6z";
  const DONE = "M3 8.5l3.5 3.5L13 4.5";
  const FAILED = "M4 4l8 8M12 4l-8 8";
  function icon(shape) {
    const [svg, path] = ["svg", "path"].map((tag) => document.createElementNS("http://www.w3.org/2000/svg", tag));
    svg.setAttribute("viewBox", "0 0 16 16");
    svg.setAttribute("aria-hidden", "true");
    path.setAttribute("d", shape);
    svg.append(path);
    return svg;
  }

  async function copyText(text, button) {
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch { // pages opened from disk may have no clipboard API
      const area = el("textarea", { value: text, readOnly: true });
      document.body.append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
      button.focus();
    }
    button.replaceChildren(icon(done ? DONE : FAILED));
    setTimeout(() => button.replaceChildren(icon(COPY)), 1200);
  }

  function renderMore() {
    const next = visible.slice(rendered, rendered + CHUNK);
    byId("cards").append(...next.map(card));
    rendered += next.length;
    const left = visible.length - rendered;
    byId("more-box").hidden = left === 0;
    byId("more").textContent = `Show ${count(Math.min(CHUNK, left))} more of ${count(left)}`;
    describe();
  }

  function describe() {
    const cut = list.total > total ? ` The page holds the first ${count(total)} of ${count(list.total)}; suspects.csv has them all.` : "";
    const dark = total > list.pictureLimit ? ` Pictures for the first ${count(list.pictureLimit)} by rank; the rest show their path.` : "";
    const extra = list.total - list.suspects;
    const what = extra > 0 ? `${plural(list.suspects, "suspect")}, and ${plural(extra, "image")} listed only as conflicting ${extra === 1 ? "duplicate" : "duplicates"}` : plural(list.suspects, "suspect");
    byId("count").hidden = total === 0;
    const these = filtered() ? `${count(visible.length)} of ${count(total)} match.` : `${what}.`;
    byId("count").textContent = `${these}${rendered < visible.length ? ` Showing ${count(rendered)}.` : ""}${dark}${cut}`;
  }

  const filtered = () => state.given >= 0 || state.suggested >= 0 || state.show !== "all" || state.query !== "";

  function update() {
    visible = [];
    for (let i = 0; i < total; i++) if (matches(i)) visible.push(i);
    visible.sort(sorts[state.sort]);
    rendered = 0;
    byId("cards").replaceChildren();
    const none = visible.length === 0;
    byId("empty").hidden = !none;
    if (none) byId("empty").replaceChildren(...emptyNote());
    byId("reset").disabled = !filtered();
    for (const button of document.querySelectorAll("[data-given]")) {
      const pressed = Number(button.dataset.given) === state.given && Number(button.dataset.suggested) === state.suggested;
      button.setAttribute("aria-pressed", String(pressed));
    }
    renderMore();
  }

  function emptyNote() {
    if (!total) return [el("b", null, "No suspects"), "No label stood out as wrong. What the network can't tell apart it can't flag: the accuracy above says how far to trust this."];
    const clear = el("button", { type: "button" }, "Clear filters");
    clear.addEventListener("click", () => byId("reset").click());
    return [el("b", null, "No suspect matches"), "Nothing fits all the filters at once.", el("div", null, clear)];
  }

  // ---- filters ----

  function filter(change) {
    Object.assign(state, change);
    const show = byId("show");
    for (const option of [...show.options]) if (option.value.startsWith("group ") && option.value !== state.show) option.remove();
    if (state.show.startsWith("group ") && show.value !== state.show) show.add(new Option(`conflict ${state.show.slice(6)}`, state.show));
    show.value = state.show;
    byId("given").value = state.given;
    byId("suggested").value = state.suggested;
    byId("query").value = state.query;
    update();
    byId("suspects").scrollIntoView();
  }

  // A button that filters by a pair of labels (-1: any), and unfilters when pressed again.
  function pairButton(given, suggested, props, ...children) {
    const button = el("button", { type: "button", ...props }, ...children);
    button.dataset.given = given;
    button.dataset.suggested = suggested;
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") === "true";
      filter({ given: on ? -1 : given, suggested: on ? -1 : suggested, show: "all", query: "" });
    });
    return button;
  }

  function fill(select, column) {
    const counts = new Map();
    for (const k of column) counts.set(k, (counts.get(k) || 0) + 1);
    const known = [...counts.keys()].sort((a, b) => order.get(a) - order.get(b));
    select.add(new Option(`any (${count(counts.size)} labels)`, -1));
    for (const k of known) select.add(new Option(`${shown(classes[k], 60)} (${count(counts.get(k))})`, k));
  }

  function controls() {
    fill(byId("given"), list.given);
    fill(byId("suggested"), list.suggested);
    const conflicts = list.conflict.filter(Boolean).length;
    const suspected = list.isSuspect.filter(Boolean).length;
    byId("show-field").hidden = conflicts === 0;
    if (data.calibrated) for (const option of byId("sort").options) option.text = option.text.replace("score", "error probability");
    for (const [what, n] of [["all", total], ["suspects", suspected], ["conflicts", conflicts]]) byId("show").add(new Option(`${what} (${count(n)})`, what));
    for (const id of ["given", "suggested"]) byId(id).addEventListener("change", (event) => { state[id] = Number(event.target.value); update(); });
    byId("show").addEventListener("change", (event) => filter({ show: event.target.value }));
    byId("sort").addEventListener("change", (event) => { state.sort = event.target.value; update(); });
    let pause = 0;
    byId("query").addEventListener("input", (event) => {
      clearTimeout(pause);
      pause = setTimeout(() => { state.query = event.target.value.trim().toLowerCase(); update(); }, 120);
    });
    byId("controls").addEventListener("submit", (event) => event.preventDefault());
    byId("controls").addEventListener("reset", (event) => {
      event.preventDefault();
      filter({ given: -1, suggested: -1, show: "all", query: "" });
    });
    byId("more").addEventListener("click", renderMore);
    new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting) && rendered < visible.length) renderMore();
    }, { rootMargin: "800px" }).observe(byId("more-box"));
    byId("controls").hidden = total === 0;
  }

  // ---- overview ----

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

  figures();
  perClass();
  matrix();
  transition();
  byId("overview").classList.toggle("single", byId("confusion").hidden && byId("transition").hidden);
  controls();
  unused();
  notes();
  facts();
  update();
})();
