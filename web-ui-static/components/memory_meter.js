// memory_meter.js - how much of an endpoint's memory its desktops have.

import { h } from "../dom.js";
import * as format from "../format.js";
import * as store from "../store.js";

export function memoryMeter(endpoint) {
	const all = endpoint.memory_mib || 1;
	const used = Math.min(store.memoryUsed(endpoint.name), all);
	return h("div", { class: "meter" },
		h("meter", { min: 0, max: all, value: used, high: all * 0.9, "aria-label": "Memory used" }),
		h("span", { class: "quiet" }, `${format.mib(used)} of ${format.mib(endpoint.memory_mib)} memory`));
}
