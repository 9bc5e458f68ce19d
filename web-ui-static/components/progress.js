// progress.js - how far a job is: a bar and the figures behind it.

import { h } from "../dom.js";
import * as format from "../format.js";

const WINDOW_MS = 4000;
const samples = new Map(); // job id → [{ at, done }]

function rateOf(job) {
	const now = performance.now();
	const list = samples.get(job.id) ?? [];
	if (list.length === 0 || list[list.length - 1].done !== job.done_bytes)
		list.push({ at: now, done: job.done_bytes });
	while (list.length > 2 && now - list[0].at > WINDOW_MS)
		list.shift();
	samples.set(job.id, list);
	const first = list[0];
	const last = list[list.length - 1];
	return last.at - first.at > 500 && last.done > first.done ? (last.done - first.done) / (last.at - first.at) * 1000 : 0;
}

function figures(job) {
	if (!job.total_bytes)
		return job.done_bytes ? [format.bytes(job.done_bytes)] : [];
	const parts = [`${format.bytes(job.done_bytes)} of ${format.bytes(job.total_bytes)}`];
	const rate = rateOf(job);
	if (rate > 0 && job.done_bytes < job.total_bytes) {
		parts.push(`${format.bytes(rate)}/s`);
		parts.push(`${format.milliseconds((job.total_bytes - job.done_bytes) / rate * 1000)} left`);
	}
	return parts;
}

export function progress(job, { compact = false } = {}) {
	const part = format.fraction(job);
	const label = `Progress of ${format.jobTitle(job)}`;
	const bar = part === null ? h("progress", { "aria-label": label, max: 1 })
		: h("progress", { "aria-label": label, max: 1, value: part.toFixed(4) });
	return h("div", { class: `progress ${compact ? "compact" : ""} ${part === null ? "unmeasured" : ""}`.replace(/\s+/g, " ").trim() },
		bar,
		part === null ? null : h("span", { class: "percent" }, format.percent(part)),
		compact ? null : h("span", { class: "figures" }, [job.message || job.step, ...figures(job)].filter(Boolean).join(" · ")));
}

export function forget(job) {
	samples.delete(job.id);
}
