// job.js - one job: how far it is, and what came of it.

import { h } from "../dom.js";
import * as actions from "../actions.js";
import * as format from "../format.js";
import * as store from "../store.js";
import { jobBadge } from "../components/badge.js";
import { icon } from "../components/icon.js";
import { desktopLink, empty, endpointLink, facts, heading, loading, section, snapshotLink, tile, when } from "../components/page.js";
import { progress } from "../components/progress.js";

const UP = { href: "#/jobs", title: "Jobs" };

// The figures of results, in the order in which they happen. What is not named here is listed below them.
const FIGURES = [
	["silent_ms", "Noticed after", format.milliseconds, "since the last sign of life"],
	["pause_ms", "Pause", format.milliseconds, "of the guest"],
	["outage_ms", "Outage", format.milliseconds, "last sign of life to running"],
	["running_ms", "Running after", format.milliseconds, "from the order to run"],
	["first_output_ms", "First output", format.milliseconds, "from the guest"],
	["bytes_before_run", "Moved until then", format.bytes, "the rest came while it ran"],
	["local_ms", "All local after", format.milliseconds, "memory and disks"],
	["read_bytes", "Read", format.bytes, "from the desktop"],
	["new_bytes", "New", format.bytes, "to the store"],
	["stored_bytes", "Stored", format.bytes, "compressed"],
	["seconds", "Took", (seconds) => format.milliseconds(seconds * 1000), "on the endpoint"],
];
const NAMES = { snapshot: "From snapshot", endpoint: "On", from: "From", to: "To", reason: "Reason", full_compare: "Compared in full because", page_requests: "Pages asked for" };

let problem = { id: null, text: null };

function figures(result) {
	const known = FIGURES.filter(([key]) => typeof result[key] === "number");
	return known.length === 0 ? null : h("div", { class: "tiles" },
		known.map(([key, label, show, note]) => tile({ label, value: show(result[key]), note })));
}

function others(result) {
	const named = new Set(FIGURES.map(([key]) => key));
	return Object.entries(result).filter(([key, value]) => !named.has(key) && value !== null && value !== "")
		.map(([key, value]) => [NAMES[key] ?? format.capital(key.replaceAll("_", " ")), key === "snapshot" ? snapshotLink(value)
			: ["from", "to", "endpoint"].includes(key) ? endpointLink(value) : typeof value === "object" ? JSON.stringify(value) : String(value)]);
}

export const job = {
	title: (params) => format.jobTitle(store.state.job.get(params.id) ?? { kind: "job" }),
	enter({ id }, redraw) {
		problem = { id, text: null };
		store.fetchOne("job", "/jobs", id).catch((error) => {
			problem = { id, text: error.message };
			redraw();
		});
	},
	render({ id }, redraw) {
		const it = store.state.job.get(id);
		if (!it && problem.id !== id)
			this.enter({ id }, redraw);
		if (!it)
			return h("div", null, heading({ title: "Job", up: UP }),
				problem.text ? empty({ symbol: "jobs", title: "This job can't be shown", text: problem.text }) : loading());
		const active = store.jobIsActive(it);
		const result = it.result ?? {};
		const took = format.jobDuration(it);
		return h("div", null,
			heading({ title: format.jobTitle(it), up: UP,
				note: [jobBadge(it), h("span", null, active ? ["began ", when(it.started ?? it.created)] : ["ended ", when(it.ended)])],
				actions: active && store.mayChange() ? h("button", { type: "button", class: "button", onclick: () => actions.cancel(it) }, icon("close"), "Cancel") : null }),
			it.error ? h("div", { class: "banner bad", key: "error" }, icon("warning"), h("p", null, it.error)) : null,
			active ? h("div", { class: "card", key: "progress" }, progress(it)) : null,
			figures(result),
			section("Details", null, facts([
				["Desktop", it.desktop ? desktopLink(it.desktop) : null],
				["Endpoint", it.endpoint ? endpointLink(it.endpoint) : null],
				...others(result),
				["Step", active ? it.step : null],
				["Says", it.message],
				["By", it.user],
				["Created", format.moment(it.created)],
				["Took", took === null ? null : format.milliseconds(took)],
				["Id", h("span", { class: "id" }, it.id)],
			])));
	},
};
