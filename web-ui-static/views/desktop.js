// desktop.js - one desktop: how it is, what can be done, and every instant it can go back to.

import { h } from "../dom.js";
import * as actions from "../actions.js";
import * as format from "../format.js";
import * as store from "../store.js";
import { actionsBar } from "../components/actions_bar.js";
import { badge, verdictBadge } from "../components/badge.js";
import { icon } from "../components/icon.js";
import { activeJob, endedJob } from "../components/job_line.js";
import { empty, endpointLink, facts, heading, section, snapshotLink, when } from "../components/page.js";

const SHOWN_JOBS = 8;
const UP = { href: "#/desktops", title: "Desktops" };
const POLICIES = { strict: "Strict: it pauses when the server is out of reach", "offline-ok": "Runs on when the server is out of reach" };

const ADVICE = {
	lost: "Its endpoint is silent and its right to run has ended. Failing over brings it back elsewhere from its newest snapshot.",
	fenced: "Its endpoint has lost touch with the server and paused it, so that it can't run twice. It goes on by itself when they meet again.",
	error: "Something went wrong with it. The last job says what.",
	"io-error": "A disk operation failed and the guest is stopped, so that nothing is lost.",
	empty: "It has no disk yet. Import an image to fill it.",
};

const alarmText = ({ name, alarm }) => `This looks like ransomware: ${alarm.why}. The last good snapshot is ${alarm.last_good ?? "gone"}; nothing is deleted until an administrator acknowledges it (godwit desktop acknowledge ${name}).`;

function advice(desktop) {
	const bad = store.desktopTrouble(desktop) || desktop.alarm;
	const text = [desktop.alarm ? alarmText(desktop) : null, desktop.note && store.desktopTrouble(desktop) ? format.capital(desktop.note) + "." : null, ADVICE[desktop.state]].filter(Boolean).join(" ");
	return text ? h("div", { class: `banner ${bad ? "bad" : ""}`, key: "advice" }, icon("warning"), h("p", null, text)) : null;
}

function resumeButtons(snapshot, desktop) {
	const offered = new Map(actions.available(desktop).map((action) => [action.verb, action]));
	const verb = snapshot.memory && offered.has("resume") ? "resume" : offered.has("start") ? "start" : null;
	if (!verb)
		return null;
	return h("button", { type: "button", class: "button small", onclick: () => actions.run(verb, desktop.name, { snapshot: snapshot.id }),
		"aria-label": `${format.capital(verb)} from ${snapshot.id}` }, icon(verb === "start" ? "play" : "resume"), `${format.capital(verb)} from here`);
}

function instant(snapshot, desktop) {
	const newest = snapshot.id === desktop.latest_snapshot;
	const figures = [
		format.bytes(snapshot.stored_bytes) + " stored",
		snapshot.pause_ms === null || snapshot.pause_ms === undefined ? null : `paused ${format.milliseconds(snapshot.pause_ms)}`,
	].filter(Boolean).join(" · ");
	return h("li", { key: snapshot.id, class: `instant ${newest ? "newest" : ""} ${snapshot.branch ? "branched" : ""}` },
		h("div", { class: "instant-text" },
			h("p", null, when(snapshot.created), newest ? h("span", { class: "tag accent" }, "newest") : null,
				snapshot.memory ? h("span", { class: "tag" }, icon("memory"), "with memory") : h("span", { class: "tag" }, icon("disk"), "disks"),
				snapshot.branch ? h("span", { class: "tag warn" }, icon("branch"), "branch") : null,
				verdictBadge(snapshot)),
			h("p", { class: "quiet" }, snapshotLink(snapshot.id), h("span", null, figures))),
		resumeButtons(snapshot, desktop));
}

function timeline(desktop) {
	const list = store.snapshotsOf(desktop.name);
	return section("Snapshots", list.length ? h("span", { class: "quiet" }, String(list.length)) : null,
		list.length ? h("ol", { class: "timeline" }, list.map((snapshot) => instant(snapshot, desktop)))
			: empty({ symbol: "snapshots", title: "No snapshot yet",
				text: desktop.state === "empty" ? "The first one comes with the import." : "Nothing protects this desktop until the first one is taken.",
				command: desktop.state === "empty" ? `godwit desktop import ${desktop.name} IMAGE` : null }));
}

function details(desktop) {
	const machine = desktop.machine ?? {};
	return section("Details", null, facts([
		["Endpoint", desktop.endpoint ? endpointLink(desktop.endpoint) : "On no endpoint"],
		["Processors", machine.vcpus],
		["Memory", format.mib(machine.memory_mib)],
		["Disks", format.bytes(desktop.disk_bytes)],
		["Network", machine.network === "none" ? "None" : machine.network === "user" ? "Out through the endpoint" : machine.network],
		["Machine", [machine.type, machine.cpu].filter(Boolean).join(", ")],
		["Lease", desktop.lease?.state],
		["Policy", POLICIES[desktop.lease?.policy] ?? desktop.lease?.policy],
		["Epoch", desktop.epoch],
		["Domain", desktop.domain],
		["Created", when(desktop.created)],
	]));
}

export const desktop = {
	title: (params) => params.name,
	render({ name }) {
		const it = store.state.desktop.get(name);
		if (!it)
			return h("div", null, heading({ title: name, up: UP }),
				empty({ symbol: "desktops", title: "There is no such desktop", text: "It may have another name." }));
		const jobs = store.jobsOf(name);
		const active = jobs.filter(store.jobIsActive);
		const ended = jobs.filter((job) => !store.jobIsActive(job)).slice(0, SHOWN_JOBS);
		return h("div", null,
			heading({ title: name, up: UP, actions: actionsBar(it),
				note: [badge(it.state), it.alarm ? badge("ransomware alarm", "bad") : null,
					it.quarantined ? badge("quarantined", "warn") : null, it.endpoint ? h("span", null, "on ", endpointLink(it.endpoint)) : null] }),
			advice(it),
			active.length ? h("ul", { class: "active-jobs", key: "active" }, active.map(activeJob)) : null,
			h("div", { class: "columns", key: "columns" },
				h("div", null, timeline(it)),
				h("div", null, details(it),
					ended.length ? section("Jobs", null, h("ul", { class: "ended-jobs" }, ended.map(endedJob))) : null)));
	},
};
