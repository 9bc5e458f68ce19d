// endpoint.js - one machine and the desktops on it.

import { h } from "../dom.js";
import * as format from "../format.js";
import * as store from "../store.js";
import { actionsMenu } from "../components/actions_bar.js";
import { badge } from "../components/badge.js";
import { icon } from "../components/icon.js";
import { memoryMeter } from "../components/memory_meter.js";
import { activeJob } from "../components/job_line.js";
import { desktopLink, empty, facts, heading, section, when } from "../components/page.js";
import { table } from "../components/table.js";

const UP = { href: "#/endpoints", title: "Endpoints" };
const ACCELERATORS = { kvm: "KVM (hardware virtualisation)", tcg: "TCG (software; slow)" };

const columns = [
	{ title: "Desktop", cell: (desktop) => desktopLink(desktop.name) },
	{ title: "State", cell: (desktop) => badge(desktop.state) },
	{ title: "Memory", class: "number", cell: (desktop) => format.mib(desktop.machine?.memory_mib) },
	{ title: "Last snapshot", cell: (desktop) => when(store.state.snapshot.get(desktop.latest_snapshot)?.created) },
	{ title: "Actions", class: "tools", cell: actionsMenu },
];

export const endpoint = {
	title: (params) => params.name,
	render({ name }) {
		const it = store.state.endpoint.get(name);
		if (!it)
			return h("div", null, heading({ title: name, up: UP }),
				empty({ symbol: "endpoints", title: "There is no such endpoint", text: "It may have another name, or never have enrolled." }));
		const here = store.desktopsOn(name);
		const active = store.activeJobs().filter((job) => job.endpoint === name);
		return h("div", null,
			heading({ title: name, up: UP, note: [badge(it.state), h("span", null, "last seen ", when(it.last_seen))] }),
			it.state === "online" ? null : h("div", { class: "banner bad", key: "offline" }, icon("warning"),
				h("p", null, "This endpoint is silent. Desktops on it are failed over when their leases end, as their policies allow.")),
			active.length ? h("ul", { class: "active-jobs", key: "active" }, active.map(activeJob)) : null,
			h("div", { class: "columns", key: "columns" },
				h("div", null, section("Desktops here", null, here.length
					? table({ label: `Desktops on ${name}`, columns, rows: here, key: (desktop) => desktop.name })
					: empty({ symbol: "desktops", title: "No desktop here" }))),
				h("div", null, section("Details", null, facts([
					["Memory", memoryMeter(it)],
					["Processors", it.cpus],
					["Disk free", format.bytes(it.disk_free_bytes)],
					["Runs guests with", ACCELERATORS[it.accelerator] ?? it.accelerator],
					["Version", it.version],
					["Enrolled", when(it.enrolled)],
				])))));
	},
};
