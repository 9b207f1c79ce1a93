// How the score spreads over all images used: suspects above the line, the rest below. A drag filters by it.

const BINS = data.histogram.suspects.length;
const WIDE = 20; // units a bin
const HALF = 64; // units a side of the line
let picked = null; // first and last bin of a drag

function histogram() {
  const { suspects, rest, cut, unknown } = data.histogram;
  const most = Math.max(...suspects, ...rest);
  if (!most) return;
  const high = (n) => (n ? Math.max(2, (HALF * Math.log1p(n)) / Math.log1p(most)) : 0);
  const chart = svg("svg", { viewBox: `0 0 ${BINS * WIDE} ${2 * HALF + 2}`, preserveAspectRatio: "none", role: "img" });
  const [low, up] = [suspects, rest].map((counts) => counts.reduce((sum, n) => sum + n, 0));
  chart.setAttribute("aria-label", `${LEVEL} of ${plural(low, "suspect")} and of ${plural(up, "other image")}, in ${BINS} bins from 0 to 1. The range fields above the cards filter by it.`);
  for (let bin = 0; bin < BINS; bin++) {
    const [above, below] = [high(suspects[bin]), high(rest[bin])];
    const said = `${LEVEL} ${(bin / BINS).toFixed(3)} to ${((bin + 1) / BINS).toFixed(3)}: ${plural(suspects[bin], "suspect")}, ${plural(rest[bin], "other image")}`;
    const tip = svg("title");
    tip.append(said);
    const x = bin * WIDE;
    chart.append(svg("g", { class: "bin" }, tip,
      svg("rect", { class: "hit", x, y: 0, width: WIDE, height: 2 * HALF + 2 }),
      svg("rect", { class: "suspect", x: x + 1.5, y: HALF - above, width: WIDE - 3, height: above }),
      svg("rect", { class: "rest", x: x + 1.5, y: HALF + 2, width: WIDE - 3, height: below })));
  }
  if (cut !== null) chart.append(svg("line", { class: "cut", x1: cut * BINS * WIDE, x2: cut * BINS * WIDE, y1: 0, y2: 2 * HALF + 2 }));
  const binAt = (event) => {
    const { left, width } = chart.getBoundingClientRect();
    return Math.min(BINS - 1, Math.max(0, Math.floor(((event.clientX - left) / width) * BINS)));
  };
  chart.addEventListener("pointerdown", (event) => {
    picked = [binAt(event), binAt(event)];
    chart.setPointerCapture(event.pointerId);
    highlight(...picked);
  });
  chart.addEventListener("pointermove", (event) => {
    if (!picked) return;
    picked[1] = binAt(event);
    highlight(Math.min(...picked), Math.max(...picked));
  });
  chart.addEventListener("pointercancel", () => { picked = null; markRange(); });
  chart.addEventListener("pointerup", () => {
    if (!picked) return;
    const [from, to] = [Math.min(...picked) / BINS, (Math.max(...picked) + 1) / BINS];
    picked = null;
    const again = state.from === from && state.to === to;
    filter({ from: again ? null : from, to: again ? null : to });
  });
  const marks = el("div", { className: "scale", ariaHidden: "true" }, ...[0, 0.25, 0.5, 0.75, 1].map((x) => el("span", null, String(x))));
  const legend = el("p", { className: "legend" },
    el("span", { className: "suspect" }, `▲ ${plural(low, "suspect")}`), el("span", { className: "rest" }, `▼ ${plural(up, "other image")}`),
    cut === null ? "" : el("span", { className: "cut" }, `┆ cut at ${cut.toFixed(3)}`));
  byId("scores-title").textContent = data.calibrated ? "How probable an error is" : "How the score spreads";
  byId("scores-hint").textContent = `All images used by ${LEVEL}, heights on a logarithmic scale. Click or drag to see the suspects of a range.`
    + (unknown ? ` ${plural(unknown, "image")} without one.` : "");
  byId("histogram").append(chart, marks, legend);
  byId("scores").hidden = false;
}

// Dim the bins outside a range.
function highlight(first, last) {
  document.querySelectorAll("#histogram .bin").forEach((node, bin) => node.classList.toggle("out", bin < first || bin > last));
}

function markRange() {
  const { from, to } = state;
  if (from === null && to === null) highlight(0, BINS);
  else highlight(Math.floor((from ?? 0) * BINS + 1e-6), Math.ceil((to ?? 1) * BINS - 1e-6) - 1);
}
