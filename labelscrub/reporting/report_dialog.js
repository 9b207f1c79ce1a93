// The larger view of one image, with all there is to decide by, and the help.

const view = byId("view");
const KEYS = [
  [["j", "→"], "next image"],
  [["p", "←"], "previous image"],
  [["↑", "↓"], "a line of cards up or down"],
  [["k"], "keep: the given label is right"],
  [["r"], "relabel to the suggestion"],
  [["1", "–", "5"], "choose among the most probable classes"],
  [["c"], "choose another class: type its first letters, Enter relabels"],
  [["x"], "remove: leave the image out"],
  [["u"], "undo, also several times"],
  [["Enter"], "show it larger"],
  [["Esc"], "close"],
  [["?"], "this help"],
];
let viewed = -1;

function openView(i) {
  viewed = i;
  const held = view.contains(document.activeElement) ? document.activeElement.dataset.focus : ""; // keeps the focus
  if (places.has(i)) select(i, { focus: false });
  const close = button(icon(CROSS), { className: "copy", title: "Close (Esc)", ariaLabel: "Close" }, closeView);
  const title = el("h2", { id: "view-title" }, `#${count(list.rank[i])}`, el("span", { className: "verdict" }));
  view.replaceChildren(
    el("div", { className: "large" }, largePicture(i)),
    el("div", { className: "side" },
      el("div", { className: "top" }, title, close),
      labelsOf(i),
      choicesOf(i),
      ranking(i),
      otherClass(i),
      el("div", { className: "comparison" }, el("h3", null, "For comparison, rightly labelled as far as the run can tell"), el("div", { className: "examples" }, ...examples(i))),
      list.why[i] ? el("p", { className: "why" }, name(list.why[i], 400)) : "",
      el("dl", { className: "scores" }, ...levelOf(i),
        el("dt", { title: "probability of the given label, by the network that was trained without this image" }, "self-confidence"), meter(list.confidence[i]), el("dd", null, figure(list.confidence[i], 3))),
      el("div", { className: "file" }, el("code", null, name(list.path[i], 1000), ` (row ${list.row[i]})`), copyButton("path", list.path[i])),
      el("div", { className: "walk" },
        walk("previous", [icon(ARROW), "Previous"], () => move(-1)),
        walk("undo", "Undo", takeBack),
        walk("next", ["Next", icon(ARROW)], () => move(1)))),
    banners, said); // what is outside a modal dialog is neither seen nor heard
  for (const inner of view.querySelectorAll("button")) inner.tabIndex = 0;
  paintView();
  if (!view.open) view.showModal();
  (held && view.querySelector(`[data-focus="${held}"]`) || view).focus();
}

function walk(where, text, act) {
  const node = button(text, { className: `to-${where}` }, act);
  node.dataset.focus = where;
  return node;
}

// The most probable classes, each a button with its number key and its probability as a bar.
function ranking(i) {
  const lines = (list.top[i] || []).map((k, at) => {
    const bar = el("i", { ariaHidden: "true" });
    bar.style.width = `${100 * list.topProbs[i][at]}%`;
    const node = button([el("kbd", null, at + 1), el("span", { className: "label" }, name(classes[k], 60)), el("span", { className: "track" }, bar), el("span", { className: "share" }, likely(list.topProbs[i][at]))],
      { title: k === list.given[i] ? "The given label: keep it" : `Relabel to ${shown(classes[k])}` }, () => settle(i, "relabel", classes[k]));
    node.dataset.label = classes[k];
    return el("li", null, node);
  });
  return lines.length ? el("ol", { className: "ranking", role: "list", ariaLabel: "Most probable classes" }, ...lines) : "";
}

function otherClass(i) {
  const choice = el("select", { ariaLabel: "Any class", title: "Choose another class (c)" }, new Option("another class…", ""));
  for (const k of order.keys()) if (k !== list.given[i]) choice.add(new Option(shown(classes[k], 80), k));
  const apply = button("Relabel", { disabled: true }, () => settle(i, "relabel", classes[choice.value]));
  const chosen = () => { apply.disabled = !choice.value; };
  for (const when of ["input", "change"]) choice.addEventListener(when, chosen); // keys change it on their way
  choice.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.repeat || !choice.value) return;
    event.preventDefault();
    settle(i, "relabel", classes[choice.value]); // the focus leaves the field: letters are keys again
  });
  return el("div", { className: "other" }, el("kbd", { ariaHidden: "true" }, "c"), choice, apply);
}

function chooseClass(i) {
  if (!view.open) openView(i);
  view.querySelector(".other select").focus();
}

function paintView() {
  if (viewed < 0) return;
  const decision = decisions.get(viewed);
  paint(view, viewed);
  for (const one of view.querySelectorAll("[data-label]")) {
    const label = !decision ? null : decision.choice === "keep" ? givenOf(viewed) : decision.label;
    one.setAttribute("aria-pressed", String(label !== null && decision.choice !== "remove" && one.dataset.label === label));
  }
}

// All at once: the next key may come before the browser tells that the dialog is closed.
function closeView() {
  if (viewed < 0) return;
  const i = viewed;
  viewed = -1;
  view.close();
  document.body.append(banners, said);
  view.replaceChildren();
  select(places.has(i) ? i : current);
}

view.addEventListener("cancel", (event) => { // Esc
  event.preventDefault();
  closeView();
});
view.addEventListener("close", closeView);
view.addEventListener("click", (event) => { if (event.target === view) closeView(); }); // beside it
byId("help").addEventListener("click", (event) => { if (event.target === event.currentTarget) event.currentTarget.close(); });

function openHelp() {
  const help = byId("help");
  if (help.open) return;
  const keys = KEYS.map(([names, what]) => el("div", null, el("dt", null, ...names.map((key) => (key === "–" ? " – " : el("kbd", null, key)))), el("dd", null, what)));
  const kept = data.served
    ? "Each decision is written to decisions.jsonl in the run's folder as you make it, and other tabs of this review show it too."
    : "Decisions stay in this browser. Save them as decisions.jsonl to use them, or to go on elsewhere: Load reads the file back.";
  const close = button("Close", null, () => help.close());
  help.replaceChildren(el("h2", { id: "help-title" }, "Decide by keyboard"), el("dl", { className: "keys" }, ...keys),
    el("p", { className: "hint" }, "A decision moves on to the next image that has none; the button of a decision, pressed again, takes it back. Nothing happens to your files until you run labelscrub prune."), el("p", { className: "hint" }, kept), close);
  help.showModal();
  close.focus();
}
