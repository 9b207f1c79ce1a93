// The keys, what happens when something changes, and the start.

const FIELDS = "input, select, textarea, [contenteditable]";
const HELD = ["j", "p", "ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp"]; // may be held down; a decision is one press

function key(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented || event.isComposing) return;
  const on = event.target instanceof Element ? event.target : document.body;
  if (on.closest(FIELDS) || byId("help").open) return;
  const inCards = Boolean(on.closest(".card, #view"));
  const large = view.open;
  const i = large ? viewed : current;
  const actions = {
    j: () => move(1),
    p: () => move(-1),
    u: takeBack,
    "?": openHelp,
    ...(inCards ? { ArrowRight: () => move(1), ArrowLeft: () => move(-1) } : {}),
    ...(inCards && !large ? { ArrowDown: () => move(layout.columns), ArrowUp: () => move(-layout.columns) } : {}),
  };
  if (places.has(i) || large) {
    const choose = (choice, label) => () => (inSight() ? settle(i, choice, label) : select(i));
    Object.assign(actions, { k: choose("keep"), x: choose("remove"), r: choose("relabel", suggestedOf(i)) });
    (list.top[i] || []).forEach((k, at) => { actions[at + 1] = choose("relabel", classes[k]); });
    actions.c = () => (inSight() ? chooseClass(i) : select(i));
    if (!large && !on.closest("button, a, summary")) actions.Enter = () => openView(i);
  }
  const pressed = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (!Object.hasOwn(actions, pressed)) return;
  event.preventDefault();
  if (!event.repeat || HELD.includes(pressed)) actions[pressed]();
}

// What decisions change on the page: the cards, the larger view, the counter, and the list where it is filtered by them.
changed = (indices) => {
  for (const i of indices) if (nodes.has(i)) paint(nodes.get(i), i);
  paintView();
  if (state.decided !== "all" && indices.length) update(true);
  else render();
  tally();
};

function tally() {
  const share = total ? decisions.size / total : 0;
  const bar = el("i");
  bar.style.width = `${100 * share}%`;
  byId("progress").replaceChildren(el("span", null, progress()), el("span", { className: "track", ariaHidden: "true" }, bar));
  byId("undo").disabled = !steps.length;
  byId("save").disabled = !decisions.size;
  byId("next").hidden = !decisions.size;
  const pending = channel.pending();
  byId("next").replaceChildren(pending ? `${plural(pending, "decision")} on the way to the disk. ` : "", data.served ? "When you are done: " : "Save the decisions, then: ", el("code", null, command()), copyButton("command", command()));
}

// The command that makes decisions into data; a page opened from disk knows where its run is.
function command() {
  const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
  let run = data.run || "RUN";
  if (location.protocol === "file:") {
    try {
      run = decodeURIComponent(location.pathname).replace(/\/[^/]*$/, "") || "/";
    } catch {
      // a name that is no UTF-8: the reader knows the folder
    }
  }
  const file = data.served ? `${run.replace(/\/$/, "")}/decisions.jsonl` : "decisions.jsonl";
  return `labelscrub prune ${quoted(run)} --decisions ${quoted(file)} --action manifest`;
}

// At another width the cards lie elsewhere: what was in sight stays there.
function resized() {
  const top = () => nodes.get(current).getBoundingClientRect().top;
  const before = !view.open && inSight() ? top() : null;
  measure();
  render();
  if (before !== null) scrollBy(0, top() - before);
}

document.addEventListener("keydown", key);
box.addEventListener("focusin", (event) => {
  const node = event.target.closest(".card");
  if (node && Number(node.dataset.index) !== current) select(Number(node.dataset.index), { focus: false, scroll: false });
});
box.addEventListener("pointerdown", (event) => {
  const node = event.target.closest(".card");
  if (node) select(Number(node.dataset.index), { focus: false, scroll: false });
});
window.addEventListener("scroll", renderSoon, { passive: true });
new ResizeObserver(resized).observe(box.parentElement);
window.addEventListener("resize", renderSoon);
for (const when of ["beforeprint", "afterprint"]) {
  window.addEventListener(when, () => {
    printing = when === "beforeprint";
    describe();
    render();
  });
}
byId("undo").addEventListener("click", takeBack);
byId("save").addEventListener("click", save);
byId("load").addEventListener("click", () => byId("file").click());
byId("file").addEventListener("change", async (event) => {
  const [file] = event.target.files;
  event.target.value = "";
  if (file) await load(file);
});
byId("keys").addEventListener("click", openHelp);

figures();
perClass();
matrix();
transition();
histogram();
byId("overview").classList.toggle("single", byId("confusion").hidden && byId("transition").hidden);
controls();
unused();
notes();
facts();
channel.open();
update();
tally();
