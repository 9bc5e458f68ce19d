// actions.js - what can be done with a desktop: in which states (no `from`: any), what is asked first, what is sent.
//
// An action takes a name and looks the desktop up when it runs: the page may have changed since the button was drawn.

import * as api from "./api.js";
import * as format from "./format.js";
import * as store from "./store.js";
import { h } from "./dom.js";
import { ask } from "./components/dialog.js";
import { fail } from "./components/toast.js";

/** The endpoints that could take it, for a person to choose; the server chooses by itself when nobody does. */
function endpointField(desktop) {
	const others = store.endpoints().filter((endpoint) => endpoint.state === "online" && endpoint.name !== desktop.endpoint);
	return h("label", { class: "field" }, h("span", null, "Where to"),
		h("select", { name: "endpoint" },
			h("option", { value: "" }, "The server chooses"),
			others.map((endpoint) => h("option", { value: endpoint.name },
				`${endpoint.name} (${format.mib(endpoint.memory_mib - store.memoryUsed(endpoint.name))} free)`))));
}

const checkbox = (name, text) =>
	h("label", { class: "check" }, h("input", { type: "checkbox", name, value: "yes" }), h("span", null, text));

function lastSnapshotAge(desktop) {
	const snapshot = store.state.snapshot.get(desktop.latest_snapshot);
	return snapshot ? `taken ${format.ago(snapshot.created)}` : "that it has";
}

const ACTIONS = {
	start: {
		label: "Start", symbol: "play", from: ["stopped", "suspended", "error", "crashed"],
		needsSnapshot: true,
		question: (desktop) => desktop.state === "suspended" && {
			title: `Start ${desktop.name} afresh?`,
			text: "It was suspended with its programs open. Starting boots it from its disks; the open programs are gone. Resume goes on with them.",
			confirm: "Start afresh", danger: true,
		},
	},
	resume: { label: "Resume", symbol: "resume", from: ["suspended"], needsSnapshot: true },
	snapshot: { label: "Snapshot", symbol: "camera", from: ["running", "paused"] },
	move: {
		label: "Move…", symbol: "move", from: ["running"],
		question: (desktop) => ({
			title: `Move ${desktop.name}`,
			text: `It is suspended on ${desktop.endpoint} and goes on elsewhere with its programs open. It pauses while its last changes are sent.`,
			fields: [endpointField(desktop)], confirm: "Move it",
		}),
	},
	pause: { label: "Pause", symbol: "pause", from: ["running"] },
	unpause: { label: "Go on", symbol: "play", from: ["paused"] },
	suspend: {
		label: "Suspend", symbol: "suspend", from: ["running", "paused"],
		question: (desktop) => ({
			title: `Suspend ${desktop.name}?`,
			text: "It is snapshotted with its open programs and then switched off. Resume brings it back as it was, on any endpoint.",
			confirm: "Suspend",
		}),
	},
	stop: {
		label: "Stop…", symbol: "stop", from: ["running", "paused", "fenced"],
		question: (desktop) => ({
			title: `Stop ${desktop.name}?`,
			text: "Its user is signed out: the desktop shuts down, and its disks are saved as a snapshot.",
			fields: [checkbox("force", "Pull the plug instead of asking the guest. What it has not written is lost.")],
			confirm: "Stop it", danger: true,
		}),
		body: (values) => ({ force: values.force === "yes" }),
	},
	quarantine: {
		label: "Quarantine…", symbol: "unplug", from: ["running", "paused", "fenced", "lost", "io-error"], when: (desktop) => !desktop.quarantined,
		whileBusy: true, answers: "desktop",
		question: (desktop) => ({
			title: `Quarantine ${desktop.name}?`,
			text: "It runs on, but its network is cut, also when it is moved or failed over, until somebody releases it.",
			confirm: "Cut its network", danger: true,
		}),
	},
	release: {
		label: "Release…", symbol: "plug", when: (desktop) => desktop.quarantined,
		whileBusy: true, answers: "desktop",
		question: (desktop) => ({
			title: `Give ${desktop.name} its network back?`,
			text: "Whatever is on it can reach the network again.",
			confirm: "Release it",
		}),
	},
	failover: {
		label: "Fail over…", symbol: "failover", from: ["running", "lost", "fenced", "paused", "error"],
		whileBusy: true, needsSnapshot: true,
		question: (desktop) => ({
			title: `Fail ${desktop.name} over?`,
			text: [
				`The right to run it is taken from ${desktop.endpoint ?? "its endpoint"}, and it goes on elsewhere from the snapshot ${lastSnapshotAge(desktop)}.`,
				"Work that was done since then comes back as a branch when the endpoint does. It is not merged.",
			],
			fields: [endpointField(desktop)], confirm: "Fail over", danger: true,
		}),
	},
};

/** The actions that make sense for @desktop now, in the table's order. */
export function available(desktop) {
	if (!store.mayChange())
		return [];
	const job = store.jobOf(desktop);
	// A job whose guest runs already only fetches the rest: it keeps nobody off.
	const busy = job !== null && typeof job.result?.running_ms !== "number";
	return Object.entries(ACTIONS)
		.filter(([, action]) => (!action.from || action.from.includes(desktop.state)) && (!action.when || action.when(desktop)) && (!action.needsSnapshot || desktop.latest_snapshot)
			&& (!busy || action.whileBusy))
		.map(([verb, action]) => ({ verb, label: action.label, symbol: action.symbol, run: (more) => run(verb, desktop.name, more) }));
}

/** The one that a person most likely wants. */
export function primary(desktop) {
	const preferred = { lost: "failover", fenced: "failover", suspended: "resume", stopped: "start", running: "snapshot", paused: "unpause", error: "failover" }[desktop.state];
	return available(desktop).find((action) => action.verb === preferred) ?? null;
}

/** Ask if need be, send, and take the job (or what the action says) that is answered. more: further arguments of the request. */
export async function run(verb, name, more = {}) {
	const action = ACTIONS[verb];
	const desktop = store.state.desktop.get(name);
	const question = desktop && action.question?.(desktop);
	let values = {};
	if (question) {
		values = await ask({ symbol: action.symbol, ...question });
		if (!values)
			return;
	}
	const body = { ...more, ...(action.body ? action.body(values) : {}) };
	if (values.endpoint)
		body.endpoint = values.endpoint;
	try {
		store.put(action.answers ?? "job", await api.post(`/desktops/${encodeURIComponent(name)}/${verb}`, body));
	} catch (error) {
		fail(`${format.capital(verb)} of ${name} did not begin. ${error.message}`);
	}
}

/** Look for viruses in a snapshot's disks. */
export async function scan(snapshot) {
	try {
		store.put("job", await api.post(`/snapshots/${encodeURIComponent(snapshot.id)}/scan`));
	} catch (error) {
		fail(`The scan of ${snapshot.id} did not begin. ${error.message}`);
	}
}

export async function cancel(job) {
	try {
		store.put("job", await api.post(`/jobs/${encodeURIComponent(job.id)}/cancel`));
	} catch (error) {
		fail(`${format.jobTitle(job)} can't be cancelled. ${error.message}`);
	}
}

/** Keep a snapshot, or take a pin back: pin is one of snapshot.pins. */
export async function pin(snapshot) {
	const why = await ask({ symbol: "pin", title: `Pin ${snapshot.id}?`, text: "No retention rule and no command deletes it while it is pinned.", confirm: "Pin" });
	if (why)
		await change(`/snapshots/${encodeURIComponent(snapshot.id)}/pin`, {}, "snapshot", "The pin was not set.");
}

export const unpin = (snapshot, pin) => change(`/snapshots/${encodeURIComponent(snapshot.id)}/unpin`, { source: pin.source }, "snapshot", "The pin was not taken back.");

export const readNotice = (notice) => change(`/notices/${encodeURIComponent(notice.id)}/read`, {}, "notice", "The notice is still unread.");

export async function readAllNotices() {
	const newest = store.notices()[0];
	try {
		await api.post("/notices/read", { up_to: Number(newest.id) });
		await store.load();
	} catch (error) {
		fail(`The notices are still unread. ${error.message}`);
	}
}

async function change(path, body, kind, complaint) {
	try {
		store.put(kind, await api.post(path, body));
	} catch (error) {
		fail(`${complaint} ${error.message}`);
	}
}
