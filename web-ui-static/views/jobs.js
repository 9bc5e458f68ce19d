// jobs.js - long work: what is going on, and what was.

import { h } from "../dom.js";
import * as format from "../format.js";
import * as store from "../store.js";
import { jobBadge } from "../components/badge.js";
import { activeJob } from "../components/job_line.js";
import { desktopLink, empty, endpointLink, filterBox, heading, olderButton, section, when } from "../components/page.js";
import { table } from "../components/table.js";

let filter = "";
let sort = null; // newest first

const duration = (job) => {
	const ms = format.jobDuration(job);
	return ms === null ? "–" : format.milliseconds(ms);
};

const columns = [
	{ title: "Job", cell: (job) => h("a", { href: `#/jobs/${job.id}` }, format.jobKind(job)), sort: format.jobKind },
	{ title: "Desktop", cell: (job) => desktopLink(job.desktop), sort: (job) => job.desktop },
	{ title: "State", cell: (job) => jobBadge(job), sort: (job) => job.state },
	{ title: "Endpoint", cell: (job) => endpointLink(job.endpoint), sort: (job) => job.endpoint },
	{ title: "Ended", cell: (job) => when(job.ended), sort: (job) => job.ended },
	{ title: "Took", class: "number", cell: duration, sort: (job) => format.jobDuration(job) },
	{ title: "By", cell: (job) => job.user ?? "–", sort: (job) => job.user },
	{ title: "Says", class: "says", cell: (job) => job.error ?? job.message ?? "" },
];

export const jobs = {
	title: () => "Jobs",
	render(params, redraw) {
		const active = store.activeJobs();
		const ended = store.jobs().filter((job) => !store.jobIsActive(job));
		const shown = ended.filter((job) => `${format.jobTitle(job)} ${job.state} ${job.endpoint ?? ""} ${job.user ?? ""}`.toLowerCase().includes(filter));
		return h("div", null,
			heading({ title: "Jobs", note: active.length ? `${active.length} going on` : "Nothing is going on",
				actions: ended.length ? filterBox({ label: "Kind, desktop or state", value: filter, onInput: (text) => { filter = text; redraw(); } }) : null }),
			active.length ? h("ul", { class: "active-jobs", key: "active" }, active.map(activeJob)) : null,
			active.length + ended.length === 0
				? empty({ symbol: "jobs", title: "No jobs yet", text: "Starting, snapshotting, moving: whatever takes time appears here while it goes on and stays afterwards." })
				: null,
			ended.length ? section("Ended", null, shown.length
				? table({ label: "Ended jobs", columns, rows: shown, key: (job) => job.id, sort, onSort: (next) => { sort = next; redraw(); }, redraw })
				: empty({ symbol: "search", title: "No job matches", text: `Nothing here has “${filter}” in it.` })) : null,
			olderButton("job"));
	},
};
