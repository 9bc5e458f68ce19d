// desktops.js - all desktops.

import { h } from "../dom.js";
import * as format from "../format.js";
import * as store from "../store.js";
import { actionsMenu } from "../components/actions_bar.js";
import { badge } from "../components/badge.js";
import { desktopLink, empty, endpointLink, filterBox, heading, when } from "../components/page.js";
import { progress } from "../components/progress.js";
import { table } from "../components/table.js";

let filter = "";
let sort = { column: 0, down: false };

const takenAt = (desktop) => store.state.snapshot.get(desktop.latest_snapshot)?.created;

function stateCell(desktop) {
	const job = store.jobOf(desktop);
	return h("div", { class: "state-cell" }, badge(desktop.state), desktop.alarm ? badge("ransomware alarm", "bad") : null,
		desktop.quarantined ? badge("quarantined", "warn") : null,
		job ? h("a", { href: `#/jobs/${job.id}`, class: "state-job" }, format.jobKind(job), progress(job, { compact: true })) : null);
}

const columns = [
	{ title: "Desktop", cell: (desktop) => desktopLink(desktop.name), sort: (desktop) => desktop.name },
	{ title: "State", cell: stateCell, sort: (desktop) => desktop.state },
	{ title: "Endpoint", cell: (desktop) => endpointLink(desktop.endpoint), sort: (desktop) => desktop.endpoint },
	{ title: "Memory", class: "number", cell: (desktop) => format.mib(desktop.machine?.memory_mib), sort: (desktop) => desktop.machine?.memory_mib },
	{ title: "Disks", class: "number", cell: (desktop) => format.bytes(desktop.disk_bytes), sort: (desktop) => desktop.disk_bytes },
	{ title: "Domain", cell: (desktop) => desktop.domain, sort: (desktop) => desktop.domain },
	{ title: "Last snapshot", cell: (desktop) => when(takenAt(desktop)), sort: takenAt },
	{ title: "Actions", class: "tools", cell: actionsMenu },
];

export const desktops = {
	title: () => "Desktops",
	render(params, redraw) {
		const all = store.desktops();
		const shown = all.filter((desktop) => `${desktop.name} ${desktop.state} ${desktop.endpoint ?? ""} ${desktop.domain}`.includes(filter));
		return h("div", null,
			heading({ title: "Desktops", note: all.length ? format.plural(all.length, "desktop") : null,
				actions: all.length ? filterBox({ label: "Name, state, endpoint or domain", value: filter, onInput: (text) => { filter = text; redraw(); } }) : null }),
			all.length === 0
				? empty({ symbol: "desktops", title: "No desktops yet",
					text: "Bring one with the command line. Its disk image becomes the first snapshot.", command: "godwit desktop import NAME IMAGE" })
				: shown.length === 0 ? empty({ symbol: "search", title: "No desktop matches", text: `Nothing here has “${filter}” in it.` })
					: table({ label: "Desktops", columns, rows: shown, key: (desktop) => desktop.name, sort,
						onSort: (next) => { sort = next; redraw(); }, redraw }));
	},
};
