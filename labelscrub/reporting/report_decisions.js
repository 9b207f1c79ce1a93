// What was decided, in the browser's storage or with the server, taken back step by step, saved and loaded.

const decisions = new Map(); // index -> {choice, label}, the last one made last
const steps = []; // to take back: lists of {i, before, after}
const indexOf = new Map(list.row.map((row, i) => [row, i]));
const CHOICES = ["keep", "relabel", "remove"];
const STORED = `labelscrub ${data.key}`;
let changed = () => {}; // told of the indices whose decisions changed; the page's parts are painted by it

const same = (a, b) => (a ? a.choice : "") === (b ? b.choice : "") && (a ? a.label : "") === (b ? b.label : "");

function put(i, decision) {
  decisions.delete(i);
  if (decision) decisions.set(i, decision);
}

// Make decisions as one step: [[index, decision or null], ...].
function decideAll(changes) {
  const step = changes.map(([i, after]) => ({ i, before: decisions.get(i) || null, after })).filter((one) => !same(one.before, one.after));
  if (!step.length) return 0;
  steps.push(step);
  for (const { i, after } of step) put(i, after);
  channel.keep(step.map(({ i }) => i));
  changed(step.map(({ i }) => i));
  return step.length;
}

// A class number, or what the choice says; the given label itself is no new label: it is kept.
function decide(i, choice, label = "") {
  const decision = choice === "relabel" && label === givenOf(i) ? { choice: "keep", label: "" } : { choice, label };
  decideAll([[i, decision]]);
  say(`rank ${list.rank[i]}: ${spoken(decision)}. ${progress()}`);
}

function release(i) {
  decideAll([[i, null]]);
  say(`rank ${list.rank[i]}: not decided. ${progress()}`);
}

const spoken = (decision) => (!decision ? "not decided" : decision.choice === "relabel" ? `relabel to ${shown(decision.label, 80)}` : decision.choice);

// Take the last step back, but for what was decided anew elsewhere since. Returns the first index, or -1.
function undo() {
  while (steps.length) {
    const step = steps.pop().filter(({ i, after }) => same(decisions.get(i) || null, after));
    if (!step.length) continue;
    for (const { i, before } of step) put(i, before);
    channel.keep(step.map(({ i }) => i));
    changed(step.map(({ i }) => i));
    say(`undone. ${progress()}`);
    return step[0].i;
  }
  changed([]);
  return -1;
}

function progress() {
  const tally = { keep: 0, relabel: 0, remove: 0 };
  for (const { choice } of decisions.values()) tally[choice] += 1;
  const each = CHOICES.map((choice) => `${count(tally[choice])} ${choice}`).join(", ");
  return `${count(decisions.size)} of ${count(total)} decided${decisions.size ? `: ${each}` : ""}`;
}

// ---- kept in the browser ----

const storage = {
  warned: false,
  read(key) {
    try {
      return JSON.parse(localStorage.getItem(key));
    } catch {
      return null; // not available, or not ours
    }
  },
  write(key, value) {
    try {
      localStorage.setItem(key, JSON.stringify(value));
      storage.warned = false;
      banner("storage", "");
    } catch {
      storage.warned = true;
      banner("storage", "This browser does not keep your decisions: its storage is full or switched off. Save them before you leave the page.",
        button("Save decisions", null, save));
    }
  },
};

const packed = (i, decision) => [list.row[i], decision ? decision.choice : "unreviewed", decision ? decision.label : ""];

function unpacked(entry) {
  const [row, choice, label] = Array.isArray(entry) ? entry : [];
  const fine = indexOf.has(row) && [...CHOICES, "unreviewed"].includes(choice) && typeof label === "string" && (choice !== "relabel" || label);
  return fine ? [indexOf.get(row), choice === "unreviewed" ? null : { choice, label: choice === "relabel" ? label : "" }] : null;
}

function readStored() {
  const stored = storage.read(STORED);
  decisions.clear();
  steps.length = 0;
  for (const entry of Array.isArray(stored) ? stored : []) {
    const known = unpacked(entry);
    if (!known || !known[1]) continue;
    put(...known);
    steps.push([{ i: known[0], before: null, after: known[1] }]);
  }
}

// Where decisions go as they are made. A served page puts its server here.
const channel = {
  keep() {
    storage.write(STORED, [...decisions].map(([i, decision]) => packed(i, decision)));
  },
  open() {
    readStored();
    window.addEventListener("storage", (event) => { // the same page in another tab
      if (event.key !== STORED && event.key !== null) return;
      readStored();
      changed(list.rank.map((_, i) => i));
    });
  },
  pending: () => 0,
  waiting: () => storage.warned && decisions.size > 0,
};

window.addEventListener("beforeunload", (event) => {
  if (channel.waiting()) event.preventDefault();
});

// ---- as a file ----

function lines() {
  return [...decisions].map(([i, { choice, label }]) => JSON.stringify({
    row: list.row[i],
    path: list.path[i],
    given_label: givenOf(i),
    sha256: list.sha256[i],
    choice,
    ...(choice === "relabel" ? { label } : {}),
  }) + "\n");
}

function save() {
  const address = URL.createObjectURL(new Blob(lines(), { type: "application/x-ndjson" }));
  el("a", { href: address, download: "decisions.jsonl" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
  say(`${plural(decisions.size, "decision")} saved`);
}

// Which images of this page an entry is about: as `labelscrub prune` settles it, by row or else by content.
function meant(entry, byContent) {
  const { row, given_label: given, sha256 = "", path = "" } = entry;
  const i = indexOf.get(row);
  const fits = i !== undefined && givenOf(i) === given && ["", list.sha256[i]].includes(sha256) && ["", list.path[i]].includes(path);
  return fits ? [i] : sha256 ? byContent.get(`${sha256} ${given}`) || [] : [];
}

function parse(text) {
  const byContent = new Map();
  list.sha256.forEach((digest, i) => {
    const key = `${digest} ${givenOf(i)}`;
    if (!byContent.has(key)) byContent.set(key, []);
    byContent.get(key).push(i);
  });
  const found = new Map();
  let [strange, broken] = [0, 0];
  for (const line of text.split("\n").filter((one) => one.trim())) {
    let entry = null;
    try {
      entry = JSON.parse(line);
    } catch {
      // counted below
    }
    const known = entry && unpacked([list.row[0], entry.choice, entry.choice === "relabel" ? entry.label : ""]);
    if (!known) {
      broken += 1;
      continue;
    }
    const about = meant(entry, byContent);
    if (!about.length && known[1]) strange += 1;
    for (const i of about) found.set(i, known[1]);
  }
  return { found, strange, broken };
}

async function load(file) {
  let text;
  try {
    text = await file.text();
  } catch {
    banner("loaded", `${shown(file.name, 80)} can't be read.`);
    return;
  }
  const { found, strange, broken } = parse(text);
  const made = decideAll([...found]);
  const said = [`${plural(found.size, "decision")} read from ${shown(file.name, 80)}, ${made === found.size ? "all" : count(made)} new.`];
  if (strange) said.push(`${plural(strange, "line")} about images or labels that this page does not list left out.`);
  if (broken) said.push(`${plural(broken, "line")} that ${broken === 1 ? "is no decision" : "are no decisions"} left out.`);
  banner("loaded", said.join(" "));
}
