// A page served by `labelscrub review`: each decision is sent as it is made, and those of other tabs fetched.

const unsent = new Map(); // index -> {decision}, in the order they were made
const UNSENT = `${STORED} unsent`;
const AGAIN = 1500; // ms
let since = 0; // journal entries that this page has seen
let posts = 0;
let sending = false;

class Refused extends Error {}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, { cache: "no-store", credentials: "same-origin", ...options });
  } catch {
    throw new Error("labelscrub review does not answer. Where it was ended and started again it has another address: save your decisions here and load them there");
  }
  if (answer.ok) return answer.json();
  const said = `${answer.status} ${shown((await answer.text()).trim(), 200)}`;
  if ([401, 403].includes(answer.status)) throw new Error("this tab is not signed in (any more): open the address that labelscrub review printed last");
  if (answer.status >= 400 && answer.status < 500) throw new Refused(said);
  throw new Error(`labelscrub review answers ${said}`);
}

function keepUnsent() {
  if (!unsent.size) {
    try {
      localStorage.removeItem(UNSENT);
    } catch {
      // not available, so nothing is there
    }
  } else storage.write(UNSENT, [...unsent].map(([i, { decision }]) => packed(i, decision)));
}

function trouble(error) {
  const waiting = unsent.size ? ` ${plural(unsent.size, "decision")} not yet on disk; kept here and sent again.` : "";
  banner("server", error ? `${error.message}.${waiting}` : "", el("span", { className: "waiting", ariaHidden: "true" }, "…"),
    ...(unsent.size ? [button("Save decisions", null, save)] : []));
}

async function send() {
  if (sending) return;
  sending = true;
  try {
    while (unsent.size) {
      const [i, entry] = unsent.entries().next().value;
      const [row, choice, label] = packed(i, entry.decision);
      try {
        await ask("/decisions", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ row, choice, label }) });
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        banner("refused", `The server refused "${spoken(entry.decision)}" for rank ${list.rank[i]}: ${error.message}`);
        since = 0; // what holds is what the journal says
        if (unsent.get(i) === entry) put(i, null);
        changed([i]);
      }
      posts += 1;
      if (unsent.get(i) === entry) unsent.delete(i);
      keepUnsent();
      tally();
    }
    trouble(null);
  } catch (error) {
    trouble(error);
    setTimeout(send, 2 * AGAIN);
  } finally {
    sending = false;
  }
}

async function poll() {
  const before = posts;
  const answer = await ask(`/decisions?since=${since}`);
  if (before !== posts) return poll(); // asked before the last answer to a decision: it may be older than that
  if (answer.count < since) { // another journal than before
    since = 0;
    for (const i of [...decisions.keys()]) if (!unsent.has(i)) put(i, null);
    changed(list.rank.map((_, i) => i));
    return poll();
  }
  const news = new Set();
  for (const { row, choice, label } of answer.decisions) {
    const known = unpacked([row, choice, label || ""]);
    if (!known || unsent.has(known[0])) continue;
    if (!same(decisions.get(known[0]) || null, known[1])) news.add(known[0]);
    put(...known);
  }
  since = answer.count;
  if (news.size) changed([...news]);
  if (!unsent.size) trouble(null);
  return null;
}

let polling = false;
async function look() {
  if (polling) return;
  polling = true;
  try {
    await poll();
  } catch (error) {
    trouble(error);
  } finally {
    polling = false;
  }
}

Object.assign(channel, {
  keep(indices) {
    for (const i of indices) {
      unsent.delete(i);
      unsent.set(i, { decision: decisions.get(i) || null });
    }
    keepUnsent();
    send();
  },
  open() {
    const stored = storage.read(UNSENT);
    for (const [i, decision] of (Array.isArray(stored) ? stored : []).map(unpacked).filter(Boolean)) {
      unsent.set(i, { decision });
      put(i, decision);
    }
    look().then(send);
    setInterval(look, AGAIN);
    for (const when of ["focus", "online"]) window.addEventListener(when, () => look().then(send));
  },
  pending: () => unsent.size,
  waiting: () => unsent.size > 0,
});
