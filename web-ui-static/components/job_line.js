// job_line.js - a job in one line or card, wherever jobs are listed.

import { h } from "../dom.js";
import * as actions from "../actions.js";
import * as format from "../format.js";
import * as store from "../store.js";
import { jobBadge } from "./badge.js";
import { when } from "./page.js";
import { progress } from "./progress.js";

/** One that is going on: what, how far, and the way out. */
export function activeJob(job) {
	return h("li", { class: "active-job", key: job.id },
		h("div", { class: "active-job-head" },
			h("a", { href: `#/jobs/${job.id}`, class: "strong" }, format.jobTitle(job)),
			job.endpoint ? h("span", { class: "quiet" }, `on ${job.endpoint}`) : null,
			store.mayChange() ? h("button", { type: "button", class: "button small", onclick: () => actions.cancel(job),
				"aria-label": `Cancel ${format.jobTitle(job)}` }, "Cancel") : null),
		progress(job));
}

export function endedJob(job) {
	return h("li", { class: "ended-job", key: job.id },
		jobBadge(job),
		h("a", { href: `#/jobs/${job.id}` }, format.jobTitle(job)),
		job.error ? h("span", { class: "ended-job-error" }, job.error) : null,
		h("span", { class: "quiet" }, when(job.ended ?? job.created)));
}
