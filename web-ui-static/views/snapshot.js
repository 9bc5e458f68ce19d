// snapshot.js - one instant: what it holds and what it cost.

import { h } from "../dom.js";
import * as api from "../api.js";
import * as format from "../format.js";
import * as store from "../store.js";
import { icon } from "../components/icon.js";
import { desktopLink, empty, facts, heading, loading, section, snapshotLink, tile, when } from "../components/page.js";
import { table } from "../components/table.js";

const UP = { href: "#/snapshots", title: "Snapshots" };
const VOLUME_KINDS = { disk: "Disk", ram: "Memory", blob: "Devices" };

// One that is older than what is loaded, and the volumes, which lists do not carry.
let seen = { id: null, object: null, problem: null };

async function fetchIt(id, redraw) {
	seen = { id, object: null, problem: null };
	try {
		seen.object = await api.get(`/snapshots/${encodeURIComponent(id)}`);
	} catch (error) {
		seen.problem = error.message;
	}
	redraw();
}

const columns = [
	{ title: "Volume", cell: (volume) => volume.name },
	{ title: "Kind", cell: (volume) => VOLUME_KINDS[volume.kind] ?? volume.kind },
	{ title: "Size", class: "number", cell: (volume) => format.bytes(volume.size) },
];

export const snapshot = {
	title: (params) => params.id,
	enter: ({ id }, redraw) => fetchIt(id, redraw),
	render({ id }, redraw) {
		if (seen.id !== id)
			fetchIt(id, redraw);
		const it = seen.object ?? store.state.snapshot.get(id);
		if (!it)
			return h("div", null, heading({ title: id, up: UP }),
				seen.problem ? empty({ symbol: "snapshots", title: "This snapshot can't be shown", text: seen.problem }) : loading());
		const volumes = it.volumes ?? it.manifest?.volumes ?? [];
		return h("div", null,
			heading({ title: id, up: UP, note: [h("span", null, "of ", desktopLink(it.desktop)), h("span", null, "taken ", when(it.created)),
				it.branch ? h("span", { class: "tag warn" }, icon("branch"), "branch") : null] }),
			it.branch ? h("div", { class: "banner", key: "branch" }, icon("branch"),
				h("p", null, "A branch: written by an endpoint whose right to run had ended. It is kept beside the main line and never merged.")) : null,
			h("div", { class: "tiles" },
				tile({ label: "Pause", value: it.pause_ms === null || it.pause_ms === undefined ? "none" : format.milliseconds(it.pause_ms), note: it.memory ? "with memory" : "disks only" }),
				tile({ label: "Read", value: format.bytes(it.read_bytes), note: it.parent ? "what had changed" : "everything" }),
				tile({ label: "New", value: format.bytes(it.new_bytes), note: "not in the store before" }),
				tile({ label: "Stored", value: format.bytes(it.stored_bytes), note: "compressed" })),
			h("div", { class: "columns" },
				h("div", null, section("Volumes", null, table({ label: "Volumes", columns, rows: volumes, key: (volume) => volume.name }))),
				h("div", null, section("Details", null, facts([
					["Desktop", desktopLink(it.desktop)],
					["Taken", format.moment(it.created)],
					["Parent", it.parent ? snapshotLink(it.parent) : "None: a full snapshot"],
					["Kind", it.kind],
					["Epoch", it.epoch],
				])))));
	},
};
