// memory_meter.js - how much of an endpoint's memory its desktops have.
//
// Drawn as SVG: a <meter> looks different in every browser, and a width in a style attribute would need a weaker policy.

import { h } from "../dom.js";
import * as format from "../format.js";
import * as store from "../store.js";

export function memoryMeter(endpoint) {
	const all = endpoint.memory_mib || 1;
	const used = Math.min(store.memoryUsed(endpoint.name), all);
	return h("div", { class: "meter" },
		h("svg", { class: `meter-bar ${used > all * 0.9 ? "full" : ""}`.trim(), role: "meter", "aria-label": `Memory used on ${endpoint.name}`,
			"aria-valuemin": 0, "aria-valuemax": all, "aria-valuenow": used, "aria-valuetext": format.mib(used) },
			h("rect", { class: "meter-all", width: "100%", height: "100%", rx: 4 }),
			h("rect", { class: "meter-used", width: `${(used / all * 100).toFixed(1)}%`, height: "100%", rx: 4 })),
		h("span", { class: "quiet" }, `${format.mib(used)} of ${format.mib(endpoint.memory_mib)} memory`));
}
