// shell.js - what stands around every page: the navigation, who is signed in, and whether the page is live.

import { h } from "../dom.js";
import * as store from "../store.js";
import { icon } from "./icon.js";
import { toggleTheme, themeIs } from "./theme.js";

const PAGES = [
	{ href: "#/", title: "Overview", symbol: "overview" },
	{ href: "#/desktops", title: "Desktops", symbol: "desktops", count: () => store.desktops().filter(store.desktopTrouble).length },
	{ href: "#/endpoints", title: "Endpoints", symbol: "endpoints", count: () => store.endpoints().filter((endpoint) => endpoint.state !== "online").length },
	{ href: "#/snapshots", title: "Snapshots", symbol: "snapshots" },
	{ href: "#/jobs", title: "Jobs", symbol: "jobs", busy: () => store.activeJobs().length },
	{ href: "#/notices", title: "Notices", symbol: "bell", what: " unread", count: () => store.unreadNotices().length },
];

const CONNECTION = {
	live: ["good", "Live"],
	connecting: ["busy", "Connecting"],
	lost: ["bad", "No connection; trying again"],
};

function navItem(page, path) {
	const mine = page.href === "#/" ? path === "/" : `#${path}`.startsWith(page.href);
	const troubles = page.count?.() ?? 0;
	const busy = page.busy?.() ?? 0;
	return h("li", { key: page.href },
		h("a", { href: page.href, "aria-current": mine ? "page" : null },
			icon(page.symbol), h("span", { class: "nav-title" }, page.title),
			troubles ? h("span", { class: "count bad" }, troubles, h("span", { class: "visually-hidden" }, page.what ?? " in trouble")) : null,
			busy ? h("span", { class: "count busy" }, busy, h("span", { class: "visually-hidden" }, " going on")) : null));
}

function connection() {
	const [tone, text] = CONNECTION[store.state.connection];
	return h("p", { class: `connection ${tone}`, role: "status" }, h("span", { class: "dot", "aria-hidden": "true" }), h("span", null, text));
}

export function shell({ path, content, onSignOut }) {
	const { user, role } = store.state.session;
	return h("div", { class: "shell", key: "shell" },
		h("header", { class: "sidebar" },
			h("a", { class: "brand", href: "#/", "aria-label": "Godwit, overview" },
				h("img", { src: "/logo.svg", alt: "", width: 32, height: 32 }), h("span", null, "Godwit")),
			h("nav", { "aria-label": "Main" }, h("ul", { class: "nav" }, PAGES.map((page) => navItem(page, path)))),
			h("div", { class: "sidebar-foot" },
				h("a", { class: "server-link", href: "#/server" }, connection()),
				h("div", { class: "person" },
					h("span", { class: "avatar", "aria-hidden": "true" }, user.charAt(0).toUpperCase()),
					h("span", { class: "person-text" }, h("span", { class: "strong" }, user), h("span", { class: "quiet" }, role)),
					h("button", { type: "button", class: "icon-button", onclick: toggleTheme,
						"aria-label": themeIs("dark") ? "Light colours" : "Dark colours", title: themeIs("dark") ? "Light colours" : "Dark colours" },
						icon(themeIs("dark") ? "light" : "dark")),
					h("button", { type: "button", class: "icon-button", onclick: onSignOut, "aria-label": "Sign out", title: "Sign out" }, icon("out"))))),
		h("main", { id: "main", tabindex: "-1" }, content));
}
