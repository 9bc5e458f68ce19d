// format.js - values as people read them.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

export function bytes(count) {
	if (!Number.isFinite(count))
		return "–";
	let unit = 0;
	while (count >= 1023.95 && unit < UNITS.length - 1) {
		count /= 1024;
		unit++;
	}
	return `${unit && count < 99.95 ? count.toFixed(1) : Math.round(count)} ${UNITS[unit]}`;
}

export const mib = (count) => bytes(count * 1024 * 1024);

export function milliseconds(ms) {
	if (!Number.isFinite(ms))
		return "–";
	if (ms < 1000)
		return ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
	const seconds = ms / 1000;
	if (seconds < 99.95)
		return `${seconds.toFixed(1)} s`;
	const whole = Math.round(seconds);
	return whole < 3600 ? `${Math.floor(whole / 60)} min ${whole % 60} s`
		: `${Math.floor(whole / 3600)} h ${Math.floor(whole % 3600 / 60)} min`;
}

/** "just now", "40 s ago", "in 2 h" */
export function ago(time, now = Date.now()) {
	const ms = now - Date.parse(time);
	if (Number.isNaN(ms))
		return "–";
	const s = Math.round(Math.abs(ms) / 1000);
	if (s < 5)
		return "just now";
	const text = s < 120 ? `${s} s` : s < 7200 ? `${Math.floor(s / 60)} min` : s < 172800 ? `${Math.floor(s / 3600)} h`
		: `${Math.floor(s / 86400)} days`;
	return ms < 0 ? `in ${text}` : `${text} ago`;
}

const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
export const moment = (time) => Number.isNaN(Date.parse(time)) ? "–" : full.format(new Date(time));

/** 0..1, or null when the job has no measure. Never 1 before it is. */
export function fraction(job) {
	if (!job.total_bytes)
		return null;
	return Math.min(1, job.done_bytes / job.total_bytes);
}

export const percent = (part) => `${Math.floor(part * 100)} %`;

export const plural = (count, one, many = one + "s") => `${count} ${count === 1 ? one : many}`;

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** What a job does, as a person would say it. */
const KINDS = {
	start: "Start", resume: "Resume", stop: "Stop", suspend: "Suspend", snapshot: "Snapshot", capture: "Snapshot",
	scan: "Virus scan", pause: "Pause", unpause: "Unpause", save: "Saving", move: "Move", failover: "Failover", import: "Import", run: "Start",
};
export const jobKind = (job) => KINDS[job.kind] ?? capital(job.kind);
export const jobTitle = (job) => job.desktop ? `${jobKind(job)} of ${job.desktop}` : jobKind(job);

export function jobDuration(job, now = Date.now()) {
	const from = Date.parse(job.started ?? job.created);
	const to = job.ended ? Date.parse(job.ended) : now;
	return Number.isNaN(from) || Number.isNaN(to) ? null : Math.max(0, to - from);
}
