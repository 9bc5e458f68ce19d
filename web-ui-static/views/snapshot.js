// snapshot.js - one instant: what it holds and what it cost.

import { h } from "../dom.js";
import * as actions from "../actions.js";
import * as api from "../api.js";
import * as format from "../format.js";
import * as store from "../store.js";
import { markTags, verdictBadge } from "../components/badge.js";
import { icon } from "../components/icon.js";
import { desktopLink, empty, facts, heading, loading, section, snapshotLink, tile, when } from "../components/page.js";
import { activeJob } from "../components/job_line.js";
import { table } from "../components/table.js";

const UP = { href: "#/snapshots", title: "Snapshots" };
const VOLUME_KINDS = { disk: "Disk", ram: "Memory", blob: "Devices" };

// One that is older than what is loaded, and the volumes, which lists do not carry.
let seen = { id: null, object: null, problem: null };

async function fetchIt(id, redraw) {
	seen = { id, object: null, problem: null };
	try {
		const object = await api.get(`/snapshots/${encodeURIComponent(id)}`);
		seen = { id, object, problem: null };
		store.put("snapshot", object);
	} catch (error) {
		seen = { id, object: null, problem: error.message };
	}
	redraw();
}

const columns = [
	{ title: "Volume", cell: (volume) => volume.name },
	{ title: "Kind", cell: (volume) => VOLUME_KINDS[volume.kind] ?? volume.kind },
	{ title: "Size", class: "number", cell: (volume) => format.bytes(volume.size) },
];

const findingColumns = [
	{ title: "Found", cell: (finding) => finding.signature },
	{ title: "In the file", class: "path", cell: (finding) => finding.path + (finding.stream ? `:${finding.stream}` : "") },
	{ title: "Volume", cell: (finding) => [finding.volume, finding.partition].filter((part) => part !== null && part !== undefined && part !== "").join(", partition ") },
];

/** What the newest scan found, and what it could not look at. */
function scanned({ scan }) {
	if (!scan)
		return null;
	const findings = scan.findings ?? [];
	const reasons = scan.reasons ?? [];
	const more = (count) => (count > 0 ? h("p", { class: "quiet" }, `and ${count} more`) : null);
	return section("Scan", h("span", null, when(scan.ended)),
		h("p", { class: "quiet" }, `${format.plural(scan.files, "file")}, ${format.bytes(scan.bytes)}, by ${scan.engine} with signatures ${scan.signature_version}`),
		findings.length ? table({ label: "Findings", columns: findingColumns, rows: findings,
			key: (finding) => `${finding.volume} ${finding.partition} ${finding.path} ${finding.stream} ${finding.signature}` }) : null,
		more(scan.more_findings),
		reasons.length ? h("ul", { class: "reasons" }, reasons.map((reason) => h("li", null, reason))) : null,
		more(scan.more_reasons));
}

/** The job that scans this desktop's snapshots now; its message says which. */
const scanOf = (snapshot) => store.activeJobs().find((job) => job.kind === "scan" && job.desktop === snapshot.desktop) ?? null;

function scanButton(snapshot) {
	return store.mayChange() && !scanOf(snapshot)
		? h("button", { type: "button", class: "button", onclick: () => actions.scan(snapshot) }, icon("search"), "Scan for viruses") : null;
}

/** Who keeps it, who holds it back, and why. */
function marks(it) {
	const pins = it.pins ?? [], holds = it.holds ?? [];
	if (!pins.length && !holds.length)
		return null;
	const line = (word, mark, more) => h("li", { key: `${word} ${mark.source}`, class: "mark" },
		h("span", null, h("span", { class: "strong" }, word), ` by ${mark.source === "person" ? mark.by : mark.source}, `, when(mark.since), `: ${mark.why}`), more);
	return section("Pins and holds", null, h("ul", { class: "reasons" },
		holds.map((mark) => line("Held", mark, null)),
		pins.map((mark) => line("Pinned", mark, store.mayChange()
			? h("button", { type: "button", class: "button small", onclick: () => actions.unpin(it, mark), "aria-label": `Take back the pin of ${mark.source}` }, "Unpin") : null))));
}

const pinButton = (it) => store.mayChange() && !(it.pins ?? []).some((mark) => mark.source === "person")
	? h("button", { type: "button", class: "button", key: "pin", onclick: () => actions.pin(it) }, icon("pin"), "Pin") : null;

export const snapshot = {
	title: (params) => params.id,
	enter: ({ id }, redraw) => fetchIt(id, redraw),
	render({ id }, redraw) {
		if (seen.id !== id)
			fetchIt(id, redraw);
		// A list's object is newer than ours when its verdict is: the scan's details are fetched then.
		const listed = store.state.snapshot.get(id);
		if (seen.object && listed && (listed.verdict !== seen.object.verdict || JSON.stringify([listed.pins, listed.holds]) !== JSON.stringify([seen.object.pins, seen.object.holds])))
			fetchIt(id, redraw);
		const it = seen.object ?? listed;
		if (!it)
			return h("div", null, heading({ title: id, up: UP }),
				seen.problem ? empty({ symbol: "snapshots", title: "This snapshot can't be shown", text: seen.problem }) : loading());
		const volumes = it.volumes ?? it.manifest?.volumes ?? [];
		return h("div", null,
			heading({ title: id, up: UP, actions: [pinButton(it), scanButton(it)], note: [verdictBadge(it), markTags(it), h("span", null, "of ", desktopLink(it.desktop)), h("span", null, "taken ", when(it.created)),
				it.branch ? h("span", { class: "tag warn" }, icon("branch"), "branch") : null] }),
			scanOf(it) ? h("ul", { class: "active-jobs", key: "scan" }, activeJob(scanOf(it))) : null,
			it.verdict === "infected" ? h("div", { class: "banner bad", key: "infected" }, icon("warning"),
				h("p", null, "A scan found a virus in it. Start, resume and failover pass it over unless it is named.")) : null,
			it.scan_due && !scanOf(it) ? h("p", { class: "quiet", key: "due" }, it.scan_tries > 0
				? `A scan could not finish ${format.plural(it.scan_tries, "time")}; it is tried again by itself.` : "It waits for its scan.") : null,
			it.branch ? h("div", { class: "banner", key: "branch" }, icon("branch"),
				h("p", null, "A branch: written by an endpoint whose right to run had ended. It is kept beside the main line and never merged.")) : null,
			h("div", { class: "tiles" },
				tile({ label: "Pause", value: it.pause_ms === null || it.pause_ms === undefined ? "none" : format.milliseconds(it.pause_ms), note: it.memory ? "with memory" : "disks only" }),
				tile({ label: "Read", value: format.bytes(it.read_bytes), note: it.parent ? "what had changed" : "everything" }),
				tile({ label: "New", value: format.bytes(it.new_bytes), note: "not in the store before" }),
				tile({ label: "Stored", value: format.bytes(it.stored_bytes), note: "compressed" })),
			h("div", { class: "columns" },
				h("div", null, section("Volumes", null, table({ label: "Volumes", columns, rows: volumes, key: (volume) => volume.name })), marks(it), scanned(it)),
				h("div", null, section("Details", null, facts([
					["Desktop", desktopLink(it.desktop)],
					["Taken", format.moment(it.created)],
					["Parent", it.parent ? snapshotLink(it.parent) : "None: a full snapshot"],
					["Kind", it.kind],
					["Epoch", it.epoch],
				])))));
	},
};
