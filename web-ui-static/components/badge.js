// badge.js - a state as a word with a colour; the word alone is enough.

import { h } from "../dom.js";

const TONES = {
	running: "good", online: "good", done: "good",
	starting: "busy", "failing-over": "busy", queued: "busy",
	paused: "warn", fenced: "warn", cancelled: "quiet",
	lost: "bad", error: "bad", failed: "bad", offline: "bad", "io-error": "bad", crashed: "bad",
	suspended: "quiet", stopped: "quiet", empty: "quiet",
};
const WORDS = { "failing-over": "failing over", "io-error": "disk error" };

/** A running job is busy, a running desktop is fine. */
export function badge(state, tone = TONES[state] ?? "quiet") {
	return h("span", { class: `badge ${tone}` }, h("span", { class: "dot", "aria-hidden": "true" }), WORDS[state] ?? state);
}

const VERDICTS = { clean: ["good", "clean"], infected: ["bad", "infected"], incomplete: ["warn", "scan incomplete"] };

/** What a scan said of a snapshot; nothing when there was none. */
export const verdictBadge = (snapshot) => VERDICTS[snapshot.verdict] ? badge(VERDICTS[snapshot.verdict][1], VERDICTS[snapshot.verdict][0]) : null;

export const jobBadge = (job) => badge(job.state, job.state === "running" ? "busy" : undefined);
