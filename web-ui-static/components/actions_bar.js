// actions_bar.js - a desktop's actions: the likeliest as a button, the others in a menu, or all of them as buttons.

import { h } from "../dom.js";
import * as actions from "../actions.js";
import { icon } from "./icon.js";
import { menu } from "./menu.js";

const HURTS = new Set(["stop", "failover"]);

function button(action, more) {
	return h("button", { type: "button", key: action.verb, class: `button ${more}`, onclick: () => action.run() },
		icon(action.symbol), action.label);
}

export function actionsBar(desktop) {
	const likely = actions.primary(desktop);
	const others = actions.available(desktop).filter((action) => action.verb !== likely?.verb);
	return h("div", { class: "actions-bar" },
		likely ? button(likely, HURTS.has(likely.verb) ? "danger" : "primary") : null,
		others.map((action) => button(action, "")));
}

export function actionsMenu(desktop) {
	const offered = actions.available(desktop);
	return offered.length === 0 ? h("span")
		: menu(`Actions for ${desktop.name}`, offered.map((action) => ({
			label: action.label, symbol: action.symbol, danger: HURTS.has(action.verb), onPick: () => action.run(),
		})));
}
