// badge.js - a state as a word with a colour; the word alone is enough.

import { h } from "../dom.js";
import { icon } from "./icon.js";

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

const reasons = (marks) => marks.map((mark) => `${mark.source}: ${mark.why}`).join("; ");

/** Held: not chosen by itself. Pinned: not deleted. Why stands in the tooltip here, and on the snapshot's page in words. */
export const markTags = (snapshot) => [
	snapshot.held ? h("span", { class: "tag bad", key: "held", title: reasons(snapshot.holds) }, icon("hold"), "held") : null,
	snapshot.pinned ? h("span", { class: "tag", key: "pinned", title: reasons(snapshot.pins) }, icon("pin"), "pinned") : null,
];

const SEVERITIES = { alarm: "bad", warning: "warn", info: "quiet" };
export const severityBadge = (notice) => badge(notice.severity, SEVERITIES[notice.severity] ?? "quiet");
