// menu.js - a button that opens a list of actions. Arrow keys move, Escape closes, focus comes back to the button.

import { h } from "../dom.js";
import { icon } from "./icon.js";

let counter = 0;

/** items: [{ label, symbol, onPick, danger }] */
export function menu(label, items) {
	const id = `menu-${++counter}`;
	// Its own and keyed by what it offers: an open menu stays as it is while the page around it changes.
	return h("div", { class: "menu", "data-own": true, key: items.map((item) => item.label).join(), onfocusout: leave, onkeydown: move },
		h("button", { type: "button", class: "button icon-only", "aria-haspopup": "menu", "aria-expanded": "false", "aria-label": label,
			onclick: toggle }, icon("more")),
		h("div", { class: "menu-list", role: "menu", id, hidden: true }, items.map((item) =>
			h("button", { type: "button", role: "menuitem", tabindex: "-1", class: item.danger ? "danger" : null,
				onclick: (event) => { close(event.currentTarget.closest(".menu")); item.onPick(); } },
				icon(item.symbol), item.label))));
}

const parts = (root) => ({ button: root.querySelector("[aria-haspopup]"), list: root.querySelector("[role=menu]") });

function toggle(event) {
	const root = event.currentTarget.closest(".menu");
	const { button, list } = parts(root);
	if (!list.hidden)
		return close(root);
	list.hidden = false;
	button.setAttribute("aria-expanded", "true");
	list.querySelector("[role=menuitem]").focus();
}

function close(root) {
	const { button, list } = parts(root);
	const inside = list.contains(document.activeElement);
	list.hidden = true;
	button.setAttribute("aria-expanded", "false");
	if (inside)
		button.focus();
}

function leave(event) {
	if (!event.currentTarget.contains(event.relatedTarget) && event.relatedTarget)
		close(event.currentTarget);
}

function move(event) {
	const root = event.currentTarget;
	const { list } = parts(root);
	const items = [...list.querySelectorAll("[role=menuitem]")];
	const at = items.indexOf(document.activeElement);
	const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[event.key];
	if (event.key === "Escape" && !list.hidden)
		close(root);
	else if (to !== undefined && !list.hidden)
		items[(to + items.length) % items.length].focus();
	else
		return;
	event.preventDefault();
}

document.addEventListener("click", (event) => {
	for (const list of document.querySelectorAll(".menu-list:not([hidden])"))
		if (!list.closest(".menu").contains(event.target))
			close(list.closest(".menu"));
});
