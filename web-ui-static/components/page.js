// page.js - the pieces that every page is put together from.

import { h } from "../dom.js";
import * as format from "../format.js";
import * as store from "../store.js";
import { icon } from "./icon.js";
import { copyButton } from "./copy.js";
import { fail } from "./toast.js";

/** The heading: where we are, what it is, and what can be done here. */
export function heading({ title, up, note, actions }) {
	return h("header", { class: "heading" },
		h("div", { class: "heading-text" },
			up ? h("nav", { class: "crumbs", "aria-label": "Breadcrumb" }, h("a", { href: up.href }, up.title), icon("chevron")) : null,
			h("h1", { tabindex: "-1" }, title),
			note ? h("div", { class: "heading-note" }, note) : null),
		actions ? h("div", { class: "heading-actions" }, actions) : null);
}

export function section(title, more, ...children) {
	const id = `section-${title.toLowerCase().replace(/[^a-z0-9]+/g, "-")}`;
	return h("section", { class: "section", "aria-labelledby": id },
		h("div", { class: "section-head" }, h("h2", { id }, title), more),
		children);
}

/** Names and values; null values are left out. */
export function facts(pairs) {
	return h("dl", { class: "facts" }, pairs.filter(([, value]) => value !== null && value !== undefined && value !== "")
		.map(([name, value]) => h("div", { key: name }, h("dt", null, name), h("dd", null, value))));
}

/** A figure that should be seen from across the room. */
export function tile({ label, value, note, href, tone }) {
	return h(href ? "a" : "div", { class: `tile ${tone ?? ""}`.trim(), href, key: label },
		h("span", { class: "tile-label" }, label),
		h("span", { class: "tile-value" }, value),
		h("span", { class: "tile-note" }, note));
}

/** Nothing here yet: what it would be, and how to get there. command: for the command line, can be copied. */
export function empty({ symbol, title, text, command, action }) {
	return h("div", { class: "empty" },
		icon(symbol, "large"),
		h("p", { class: "empty-title" }, title),
		text ? h("p", null, text) : null,
		command ? h("div", { class: "command" }, h("code", null, command), copyButton(command)) : null,
		action ?? null);
}

/** A moment as a distance, the exact one on hover. */
export function when(time) {
	return time ? h("time", { datetime: time, title: format.moment(time) }, format.ago(time)) : "–";
}

/** Lists of snapshots and jobs are loaded from the newest on. */
export function olderButton(kind) {
	const load = (event) => {
		event.currentTarget.disabled = true;
		store.showOlder(kind).catch((error) => fail(`The older ones can't be loaded. ${error.message}`));
	};
	return store.state.older[kind] ? h("p", { class: "older" }, h("button", { type: "button", class: "button", onclick: load }, "Show older")) : null;
}

export function loading() {
	return h("div", { class: "loading", role: "status" }, h("span", { class: "visually-hidden" }, "Loading"),
		h("span", { class: "skeleton wide" }), h("span", { class: "skeleton" }), h("span", { class: "skeleton" }));
}

export function filterBox({ label, value, onInput }) {
	return h("label", { class: "filter" }, icon("search"),
		h("span", { class: "visually-hidden" }, label),
		h("input", { type: "search", placeholder: label, value, autocomplete: "off", spellcheck: "false",
			oninput: (event) => onInput(event.target.value.trim().toLowerCase()) }));
}

export const desktopLink = (name) => name ? h("a", { href: `#/desktops/${name}` }, name) : "–";
export const endpointLink = (name) => name ? h("a", { href: `#/endpoints/${name}` }, name) : "–";
export const snapshotLink = (id) => id ? h("a", { class: "id", href: `#/snapshots/${id}` }, id) : "–";
