// overview.js - is everything well, what is going on, and what runs where.

import { h } from "../dom.js";
import * as format from "../format.js";
import * as store from "../store.js";
import { actionsBar } from "../components/actions_bar.js";
import { badge } from "../components/badge.js";
import { icon } from "../components/icon.js";
import { activeJob, endedJob } from "../components/job_line.js";
import { desktopLink, empty, endpointLink, heading, section, tile, when } from "../components/page.js";
import { memoryMeter } from "../components/memory_meter.js";
import { enrol } from "../components/token_dialog.js";

const RECENT_JOBS = 6;
const SHOWN_PLACES = 24; // of the map; the pages of endpoints and desktops have them all
const SHOWN_CHIPS = 8;
const SHOWN_TROUBLES = 10;

function tiles() {
	const desktops = store.desktops();
	const endpoints = store.endpoints();
	const running = desktops.filter((desktop) => desktop.state === "running").length;
	const online = endpoints.filter((endpoint) => endpoint.state === "online").length;
	const latest = store.snapshots()[0];
	const kept = store.state.server?.store;
	return h("div", { class: "tiles" },
		tile({ label: "Desktops", value: String(desktops.length), href: "#/desktops", note: `${running} running` }),
		tile({ label: "Endpoints", value: String(endpoints.length), href: "#/endpoints", note: `${online} online`,
			tone: online < endpoints.length ? "bad" : "" }),
		tile({ label: "Snapshots", value: String(kept?.snapshots ?? store.snapshots().length), href: "#/snapshots",
			note: latest ? ["the newest ", when(latest.created)] : "none yet" }),
		kept ? tile({ label: "Store", href: "#/server", value: format.bytes(kept.pack_bytes), note: `holds ${format.bytes(kept.plain_bytes)}` }) : null);
}

/** What a person has to know about a desktop that is not well. */
function explain(desktop) {
	const endpoint = store.state.endpoint.get(desktop.endpoint);
	const silent = endpoint && endpoint.state !== "online" ? [`${endpoint.name} was last seen `, when(endpoint.last_seen), ". "] : [];
	const snapshot = store.state.snapshot.get(desktop.latest_snapshot);
	const saved = snapshot ? ["Its newest snapshot was taken ", when(snapshot.created), "."] : ["It has no snapshot."];
	return [...silent, ...saved];
}

function attention() {
	const desktops = store.desktops().filter(store.desktopTrouble);
	const endpoints = store.endpoints().filter((endpoint) => endpoint.state !== "online");
	if (desktops.length + endpoints.length === 0)
		return null;
	const shown = Math.min(desktops.length, SHOWN_TROUBLES) + Math.min(endpoints.length, SHOWN_TROUBLES);
	const rest = desktops.length + endpoints.length - shown;
	return section("Needs attention", rest ? h("span", { class: "quiet" }, `and ${rest} more`) : null, h("ul", { class: "attention" },
		desktops.slice(0, SHOWN_TROUBLES).map((desktop) => h("li", { key: `desktop-${desktop.name}` },
			icon("warning"),
			h("div", null, h("p", { class: "strong" }, desktopLink(desktop.name), ` ${store.desktopTrouble(desktop)}`),
				h("p", { class: "quiet" }, explain(desktop))),
			actionsBar(desktop))),
		endpoints.slice(0, SHOWN_TROUBLES).map((endpoint) => h("li", { key: `endpoint-${endpoint.name}` },
			icon("endpoints"),
			h("div", null, h("p", { class: "strong" }, endpointLink(endpoint.name), " is offline"),
				h("p", { class: "quiet" }, "Last seen ", when(endpoint.last_seen), store.desktopsOn(endpoint.name).length
					? `; ${format.plural(store.desktopsOn(endpoint.name).length, "desktop")} there.` : "; no desktop is there any more."))))));
}

function goingOn() {
	const active = store.activeJobs();
	return active.length === 0 ? null
		: section("Going on now", null, h("ul", { class: "active-jobs" }, active.map(activeJob)));
}

// ---- What runs where ----

function chip(desktop) {
	return h("li", { key: desktop.name },
		h("a", { class: "chip", href: `#/desktops/${desktop.name}` },
			icon("desktops"), h("span", { class: "chip-name" }, desktop.name), badge(desktop.state)));
}

function chips(desktops) {
	const shown = desktops.slice(0, SHOWN_CHIPS);
	return h("ul", { class: "chips" }, shown.map(chip), desktops.length > shown.length
		? h("li", { key: "more" }, h("a", { class: "quiet", href: "#/desktops" }, `and ${desktops.length - shown.length} more`)) : null);
}

function place(endpoint, here) {
	return h("section", { class: `place ${endpoint.state}`, key: `at-${endpoint.name}`, "aria-label": endpoint.name },
		h("div", { class: "place-head" },
			icon("endpoints"), h("h3", null, endpointLink(endpoint.name)), badge(endpoint.state)),
		memoryMeter(endpoint),
		here.length ? chips(here) : h("p", { class: "quiet place-empty" }, "No desktop here"));
}

function map() {
	const order = (endpoint) => (endpoint.state === "online" ? 1 : 0);
	const endpoints = [...store.endpoints()].sort((a, b) => order(a) - order(b));
	const shown = endpoints.slice(0, SHOWN_PLACES);
	const desktops = store.desktops();
	const resting = desktops.filter((desktop) => !store.state.endpoint.has(desktop.endpoint));
	const all = endpoints.length > shown.length ? h("a", { href: "#/endpoints" }, `All ${endpoints.length} endpoints`) : null;
	return section("What runs where", all, h("div", { class: "places" },
		shown.map((endpoint) => place(endpoint, store.desktopsOn(endpoint.name))),
		resting.length ? h("section", { class: "place resting", key: "resting", "aria-label": "On no endpoint" },
			h("div", { class: "place-head" }, icon("snapshots"), h("h3", null, "On no endpoint")),
			h("p", { class: "quiet" }, "Kept on the server, ready to start anywhere"),
			chips(resting)) : null));
}

function firstSteps() {
	return h("div", { class: "steps" },
		store.endpoints().length ? null : empty({ symbol: "endpoints", title: "Enrol the first endpoint",
			text: "An endpoint is a machine that runs desktops. It joins with a token.",
			action: store.mayEnrol() ? h("button", { type: "button", class: "button primary", onclick: enrol }, icon("key"), "Make a token") : null }),
		store.desktops().length ? null : empty({ symbol: "desktops", title: "Bring the first desktop",
			text: "Import a disk image with the command line. Only what the server does not have yet is sent.",
			command: "godwit desktop import NAME IMAGE" }));
}

function recent() {
	const ended = store.jobs().filter((job) => !store.jobIsActive(job)).slice(0, RECENT_JOBS);
	return ended.length === 0 ? null
		: section("Lately", h("a", { href: "#/jobs" }, "All jobs"), h("ul", { class: "ended-jobs" }, ended.map(endedJob)));
}

function verdict() {
	const troubles = store.desktops().filter(store.desktopTrouble).length;
	const offline = store.endpoints().filter((endpoint) => endpoint.state !== "online").length;
	if (troubles)
		return `${format.plural(troubles, "desktop")} ${troubles === 1 ? "needs" : "need"} attention`;
	if (offline)
		return `${format.plural(offline, "endpoint")} ${offline === 1 ? "is" : "are"} offline`;
	return store.desktops().length ? "Everything is well" : "Welcome to Godwit";
}

export const overview = {
	title: () => "Overview",
	render() {
		return h("div", { class: "overview" },
			heading({ title: verdict() }),
			tiles(),
			attention(),
			goingOn(),
			store.endpoints().length && store.desktops().length ? null : firstSteps(),
			store.endpoints().length + store.desktops().length ? map() : null,
			recent());
	},
};
