// endpoints.js - the machines that run desktops.

import { h } from "../dom.js";
import * as format from "../format.js";
import * as store from "../store.js";
import { badge } from "../components/badge.js";
import { icon } from "../components/icon.js";
import { memoryMeter } from "../components/memory_meter.js";
import { desktopLink, empty, endpointLink, heading, when } from "../components/page.js";
import { table } from "../components/table.js";
import { enrol } from "../components/token_dialog.js";

let sort = { column: 0, down: false };

function desktopsThere(endpoint) {
	const there = store.desktopsOn(endpoint.name);
	return there.length ? h("span", { class: "list" }, there.map(({ name }) => h("span", { key: name }, desktopLink(name)))) : "–";
}

const columns = [
	{ title: "Endpoint", cell: (endpoint) => endpointLink(endpoint.name), sort: (endpoint) => endpoint.name },
	{ title: "State", cell: (endpoint) => badge(endpoint.state), sort: (endpoint) => endpoint.state },
	{ title: "Last seen", cell: (endpoint) => when(endpoint.last_seen), sort: (endpoint) => endpoint.last_seen },
	{ title: "Processors", class: "number", cell: (endpoint) => endpoint.cpus, sort: (endpoint) => endpoint.cpus },
	{ title: "Memory", cell: memoryMeter, sort: (endpoint) => endpoint.memory_mib - store.memoryUsed(endpoint.name) },
	{ title: "Disk free", class: "number", cell: (endpoint) => format.bytes(endpoint.disk_free_bytes), sort: (endpoint) => endpoint.disk_free_bytes },
	{ title: "Desktops", cell: desktopsThere, sort: (endpoint) => store.desktopsOn(endpoint.name).length },
];

const enrolButton = () => store.mayEnrol()
	? h("button", { type: "button", class: "button primary", onclick: enrol }, icon("key"), "Enrol an endpoint") : null;

export const endpoints = {
	title: () => "Endpoints",
	render(params, redraw) {
		const all = store.endpoints();
		const online = all.filter((endpoint) => endpoint.state === "online").length;
		return h("div", null,
			heading({ title: "Endpoints", note: all.length ? `${online} of ${all.length} online` : null, actions: enrolButton() }),
			all.length === 0
				? empty({ symbol: "endpoints", title: "No endpoints yet",
					text: "An endpoint is a machine that runs desktops. It joins with a token that is good once.", action: enrolButton() })
				: table({ label: "Endpoints", columns, rows: all, key: (endpoint) => endpoint.name, sort,
					onSort: (next) => { sort = next; redraw(); }, redraw }));
	},
};
