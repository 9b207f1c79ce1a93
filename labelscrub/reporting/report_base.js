// What everything else stands on: the data, and how text, numbers and elements are made.

const data = JSON.parse(document.getElementById("data").textContent);
const { classes, suspects: list } = data;
const total = list.rank.length;
const byId = (id) => document.getElementById(id);
const count = (n) => n.toLocaleString("en-US");
const plural = (n, noun) => `${count(n)} ${noun}${n === 1 ? "" : "s"}`;
const percent = (x) => `${(100 * x).toFixed(1)} %`;
// An image's error probability is never certain.
const likely = (x) => (x <= 0.005 ? "<1 %" : x >= 0.995 ? ">99 %" : `${(100 * x).toFixed(0)} %`);
const figure = (x, digits = 2) => (x === null || x === undefined ? "–" : x.toFixed(digits));
const compare = new Intl.Collator("en", { numeric: true }).compare;
const order = new Map(classes.map((label, k) => [label, k]).sort((a, b) => compare(a[0], b[0])).map(([, k], at) => [k, at]));

// The only way anything enters the document: names become text nodes, never markup.
function el(tag, props, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props || {})) {
    if (name in node && !name.startsWith("aria")) node[name] = value;
    else node.setAttribute(name.replace(/^aria[A-Z]/, (start) => `aria-${start[4].toLowerCase()}`), value);
  }
  node.append(...children);
  return node;
}

function button(text, props, act) {
  const node = el("button", { type: "button", ...props }, ...[text].flat());
  node.addEventListener("click", act);
  return node;
}

// Controls and direction marks made visible; what is copied or saved stays exact.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
const escaped = (c) => ({ "\n": "\\n", "\r": "\\r", "\t": "\\t" })[c] || "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0");
function shown(text, limit = 400) {
  const cut = text.length > limit ? text.slice(0, limit - 1) + "…" : text;
  const seen = cut.replace(UNSEEN, escaped);
  return seen.trim() === "" ? `"${seen}"` : seen;
}
const tail = (path) => (path.length > 46 ? `…${path.slice(-45)}` : path); // the file name is what differs
const name = (label, limit) => el("bdi", null, shown(label, limit));
const givenOf = (i) => classes[list.given[i]];
const suggestedOf = (i) => classes[list.suggested[i]];

// The figure that cards are judged, filtered and binned by; null where the image was not assessed.
const level = (i) => (data.calibrated ? list.error[i] : list.score[i]);
const LEVEL = data.calibrated ? "error probability" : "score";

const COPY = "M6 5.5V3.2A1.2 1.2 0 0 1 7.2 2h5.6A1.2 1.2 0 0 1 14 3.2v5.6a1.2 1.2 0 0 1-1.2 1.2H10.5M3.2 6h5.6A1.2 1.2 0 0 1 10 7.2v5.6A1.2 1.2 0 0 1 8.8 14H3.2A1.2 1.2 0 0 1 2 12.8V7.2A1.2 1.2 0 0 1 3.2 6z";
const DONE = "M3 8.5l3.5 3.5L13 4.5";
const CROSS = "M4 4l8 8M12 4l-8 8";
const ARROW = "M2.5 8h10.5M9 4l4 4-4 4";

function svg(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const icon = (shape) => svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: shape }));

async function copyText(text, from) {
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch { // pages opened from disk may have no clipboard API
    const area = el("textarea", { value: text, readOnly: true, className: "unseen" });
    from.after(area);
    area.select();
    done = document.execCommand("copy");
    area.remove();
    from.focus();
  }
  from.replaceChildren(icon(done ? DONE : CROSS));
  say(done ? "copied" : "the browser did not let the page copy");
  setTimeout(() => from.replaceChildren(icon(COPY)), 1200);
}

const copyButton = (what, text) => {
  const node = button(icon(COPY), { className: "copy", title: `Copy ${what}`, ariaLabel: `Copy ${what}` }, () => copyText(text, node));
  return node;
};

// For those who listen to the page; what is seen says it in its own place.
const said = byId("said");
const banners = byId("banners");
function say(text) {
  said.textContent = text;
}

// A message that stays until it is settled: one of each kind; an empty text settles it.
function banner(kind, text, ...children) {
  const old = document.querySelector(`[data-banner="${kind}"]`);
  if (old && old.dataset.text === text) return;
  if (old) old.remove();
  if (!text) return;
  const node = el("p", { className: "banner" }, el("span", null, text), ...children);
  if (!children.length) node.append(button(icon(CROSS), { className: "copy", title: "Dismiss", ariaLabel: "Dismiss" }, () => node.remove()));
  node.dataset.banner = kind;
  node.dataset.text = text;
  banners.append(node);
}
