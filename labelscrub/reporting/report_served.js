// A page served by `labelscrub review`: each decision is sent as it is made, and those of other tabs fetched.

const unsent = new Map(); // index -> {decision}, in the order they were made
const UNSENT = `${STORED} unsent`;
const AGAIN = 1500; // ms
let since = 0; // journal entries that this page has seen
let posts = 0;
let sending = false;
let again = 0; // one timer, however many decisions wait

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
  if (answer.status === 409) throw new Error("this tab shows another report than the server's: save your decisions here, reload the page and load them there");
  if ([401, 403].includes(answer.status)) throw new Error("this tab is not signed in (any more): open the address that labelscrub review printed last");
  if (answer.status >= 400 && answer.status < 500) throw new Refused(said);
  throw new Error(`labelscrub review answers ${said}`);
}

function storedUnsent() {
  const stored = storage.read(UNSENT);
  return (Array.isArray(stored) ? stored : []).filter(unpacked);
}

// What waits is kept in the browser too, beside what waits in other tabs.
function keepUnsent(indices) {
  const kept = new Map(storedUnsent().map((entry) => [entry[0], entry]));
  for (const i of indices) {
    kept.delete(list.row[i]);
    if (unsent.has(i)) kept.set(list.row[i], packed(i, unsent.get(i).decision));
  }
  if (kept.size) {
    storage.write(UNSENT, [...kept.values()]);
    return;
  }
  try {
    localStorage.removeItem(UNSENT);
  } catch {
    // not available, so nothing is there
  }
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
        await ask("/decisions", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ row, choice, label, report: data.report }) });
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        banner("refused", `The server refused "${spoken(entry.decision)}" for rank ${list.rank[i]}: ${error.message}`);
        since = 0; // what holds is what the journal says
        if (unsent.get(i) === entry) put(i, null);
        changed([i]);
      }
      posts += 1;
      if (unsent.get(i) === entry) unsent.delete(i);
      keepUnsent([i]);
      tally();
    }
    trouble(null);
  } catch (error) {
    trouble(error);
    clearTimeout(again);
    again = setTimeout(send, 2 * AGAIN);
  } finally {
    sending = false;
  }
}

async function poll() {
  const before = posts;
  const answer = await ask(`/decisions?since=${since}&report=${data.report}`);
  if (before !== posts) return poll(); // asked before the last answer to a decision: it may be older than that
  if (answer.count < since) { // another journal than before
    since = 0;
    for (const i of [...decisions.keys()]) if (!unsent.has(i)) put(i, null);
    changed(list.rank.map((_, i) => i));
    return poll();
  }
  const news = new Set();
  let ours = false;
  for (const { row, choice, label } of answer.decisions) {
    const known = unpacked([row, choice, label || ""]);
    if (!known) continue;
    if (unsent.has(known[0])) {
      ours = true;
      continue;
    }
    if (!same(decisions.get(known[0]) || null, known[1])) news.add(known[0]);
    put(...known);
  }
  if (!ours) since = answer.count; // else once more when ours is sent: of both the journal's last one holds
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
    keepUnsent(indices);
    send();
  },
  open() {
    for (const [i, decision] of storedUnsent().map(unpacked)) {
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
