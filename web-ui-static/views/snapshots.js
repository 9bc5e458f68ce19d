// snapshots.js - every instant that can be gone back to, newest first.

import { h } from "../dom.js";
import * as format from "../format.js";
import * as store from "../store.js";
import { markTags, verdictBadge } from "../components/badge.js";
import { icon } from "../components/icon.js";
import { desktopLink, empty, filterBox, heading, olderButton, snapshotLink, when } from "../components/page.js";
import { table } from "../components/table.js";

let filter = "";
let sort = null; // newest first

const KINDS = { import: "Import", cold: "Powered off", live: "Running" };

function content(snapshot) {
	return h("span", { class: "tags" },
		snapshot.memory ? h("span", { class: "tag" }, icon("memory"), "with memory") : h("span", { class: "tag" }, icon("disk"), "disks"),
		snapshot.branch ? h("span", { class: "tag warn" }, icon("branch"), "branch") : null,
		verdictBadge(snapshot), markTags(snapshot));
}

const columns = [
	{ title: "Snapshot", cell: (snapshot) => snapshotLink(snapshot.id), sort: (snapshot) => snapshot.id },
	{ title: "Desktop", cell: (snapshot) => desktopLink(snapshot.desktop), sort: (snapshot) => snapshot.desktop },
	{ title: "Taken", cell: (snapshot) => when(snapshot.created), sort: (snapshot) => snapshot.created },
	{ title: "While it was", cell: (snapshot) => KINDS[snapshot.kind] ?? snapshot.kind, sort: (snapshot) => snapshot.kind },
	{ title: "Holds", cell: content },
	{ title: "Pause", class: "number", cell: (snapshot) => snapshot.pause_ms === null || snapshot.pause_ms === undefined ? "–" : format.milliseconds(snapshot.pause_ms),
		sort: (snapshot) => snapshot.pause_ms ?? -1 },
	{ title: "Read", class: "number", cell: (snapshot) => format.bytes(snapshot.read_bytes), sort: (snapshot) => snapshot.read_bytes },
	{ title: "Stored", class: "number", cell: (snapshot) => format.bytes(snapshot.stored_bytes), sort: (snapshot) => snapshot.stored_bytes },
];

export const snapshots = {
	title: () => "Snapshots",
	render(params, redraw) {
		const all = store.snapshots();
		const total = store.state.server?.store?.snapshots ?? all.length;
		const shown = all.filter((snapshot) => `${snapshot.id} ${snapshot.desktop}`.includes(filter));
		return h("div", null,
			heading({ title: "Snapshots", note: total > all.length ? `the newest ${all.length} of ${total}` : all.length ? format.plural(all.length, "snapshot") : null,
				actions: all.length ? filterBox({ label: "Desktop or id", value: filter, onInput: (text) => { filter = text; redraw(); } }) : null }),
			all.length === 0
				? empty({ symbol: "snapshots", title: "No snapshots yet", text: "The first one comes with the first desktop.", command: "godwit desktop import NAME IMAGE" })
				: shown.length === 0 ? empty({ symbol: "search", title: "No snapshot matches", text: `Nothing here has “${filter}” in it.` })
					: table({ label: "Snapshots", columns, rows: shown, key: (snapshot) => snapshot.id, sort,
						onSort: (next) => { sort = next; redraw(); }, redraw }),
			olderButton("snapshot"));
	},
};
