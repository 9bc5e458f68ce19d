// notices.js - what needs a person's attention, newest first.

import { h } from "../dom.js";
import * as actions from "../actions.js";
import * as format from "../format.js";
import * as store from "../store.js";
import { severityBadge } from "../components/badge.js";
import { icon } from "../components/icon.js";
import { desktopLink, empty, heading, olderButton, snapshotLink, when } from "../components/page.js";
import { table } from "../components/table.js";

const MAILS = { queued: "mail waits", sent: "mailed", failed: "mail failed" };

function about(notice) {
	return h("span", { class: "tags" },
		notice.desktop ? desktopLink(notice.desktop) : null,
		notice.snapshot ? snapshotLink(notice.snapshot) : null);
}

function readCell(notice) {
	if (notice.read)
		return h("span", { class: "quiet" }, "read by ", notice.reader);
	return store.mayChange() ? h("button", { type: "button", class: "button small", "aria-label": `Mark notice ${notice.id} as read`,
		onclick: () => actions.readNotice(notice) }, icon("check"), "Read") : "unread";
}

const columns = [
	{ title: "Severity", cell: severityBadge },
	{ title: "When", cell: (notice) => when(notice.at) },
	{ title: "What", class: "path", cell: (notice) => h("span", { class: notice.read ? "" : "strong" }, notice.text) },
	{ title: "About", cell: about },
	{ title: "Mail", cell: (notice) => MAILS[notice.mail] ? h("span", { class: "quiet", title: notice.mail_error }, MAILS[notice.mail]) : "–" },
	{ title: "Read", cell: readCell },
];

export const notices = {
	title: () => "Notices",
	render() {
		const all = store.notices();
		const unread = store.unreadNotices().length;
		return h("div", null,
			heading({ title: "Notices", note: unread ? `${unread} unread` : all.length ? format.plural(all.length, "notice") : null,
				actions: unread && store.mayChange() ? h("button", { type: "button", class: "button", onclick: () => actions.readAllNotices() }, icon("check"), "Mark all as read") : null }),
			all.length === 0
				? empty({ symbol: "bell", title: "No notices", text: "Infected snapshots, scans that can't finish and outdated signatures are told here." })
				: table({ label: "Notices", columns, rows: all, key: (notice) => notice.id }),
			olderButton("notice"));
	},
};
