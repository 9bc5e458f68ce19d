// server.js - the server itself: how to recognise it, and what its store holds.

import { h } from "../dom.js";
import * as format from "../format.js";
import * as api from "../api.js";
import * as store from "../store.js";
import { badge } from "../components/badge.js";
import { copyButton } from "../components/copy.js";
import { facts, heading, section, tile, when } from "../components/page.js";

const UP = { href: "#/", title: "Overview" };

/** What the desktops hold for each byte that is kept. */
function ratio({ plain_bytes: plain, pack_bytes: packed }) {
	return packed > 0 ? `${(plain / packed).toFixed(1)} : 1` : "–";
}

// In no event: asked for whenever the page is entered.
let signatures = null;
async function fetchSignatures(redraw) {
	try {
		signatures = await api.get("/signatures");
	} catch {
		signatures = null;
	}
	redraw();
}

function signatureSection(it) {
	if (!it)
		return null;
	const state = !it.there ? badge("none", "bad") : it.outdated ? badge("outdated", "warn") : badge("up to date", "good");
	return section("Virus signatures", state,
		it.there ? null : h("p", null, "Without signatures every scan is incomplete. Upload a bundle with godwit signatures upload, or configure a mirror."),
		facts([
			["Built", it.built ? h("span", null, when(it.built)) : null],
			["From", { folder: "a folder that somebody else keeps", mirror: "a mirror", upload: "uploads" }[it.source]],
			["Folder", it.folder],
			["Signatures", it.signatures === null ? null : it.signatures.toLocaleString()],
			["Files", it.files.length ? it.files.map((file) => file.name).join(", ") : null],
			["Last update", it.update.ended ? h("span", null, when(it.update.ended)) : null],
			["It failed", it.update.error],
		]));
}

export const server = {
	enter: (params, redraw) => fetchSignatures(redraw),
	title: () => "Server",
	render() {
		const it = store.state.server;
		const command = `godwit login ${location.origin} --user ${store.state.session.user} --fingerprint ${it.ca_fingerprint}`;
		return h("div", null,
			heading({ title: "Server", up: UP, note: [`Version ${it.version}`, h("span", null, "started ", when(it.started))] }),
			h("div", { class: "tiles" },
				tile({ label: "Snapshots", value: String(it.store.snapshots), note: "that can be gone back to", href: "#/snapshots" }),
				tile({ label: "Data", value: format.bytes(it.store.plain_bytes), note: "each piece once" }),
				tile({ label: "On disk", value: format.bytes(it.store.pack_bytes), note: `in ${format.plural(it.store.packs, "pack")}` }),
				tile({ label: "Compression", value: ratio(it.store), note: `${it.store.chunks.toLocaleString()} chunks` })),
			section("How to recognise it", null,
				h("p", null, "Whoever connects to this server for the first time compares this fingerprint of its certificate authority with what it was told:"),
				h("div", { class: "command" }, h("code", { id: "fingerprint" }, it.ca_fingerprint), copyButton(it.ca_fingerprint)),
				h("p", null, "The command line signs in with"),
				h("div", { class: "command one-line" }, h("code", null, command), copyButton(command))),
			signatureSection(signatures),
			section("Details", null, facts([
				["Version", it.version],
				["Started", format.moment(it.started)],
				["You are", `${store.state.session.user} (${store.state.session.role})`],
				["Signed in until", store.state.session.expires ? format.moment(store.state.session.expires) : null],
			])));
	},
};
