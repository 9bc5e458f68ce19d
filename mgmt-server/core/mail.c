/* mail.c - see mail.h. */
#include "mgmt-server/core/mail.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/io.h"
#include "common/log.h"
#include "mgmt-server/core/change.h"

enum {
	LOOK_MS = 500,
	CONNECT_TIMEOUT_S = 20,
	SEND_TIMEOUT_S = 60,
	TRIES_MAX = 12,
	ADDRESS_MAX = 200
};
static const uint64_t longest_wait_ms = 3600000;

struct mail {
	struct server *server;
	pthread_t thread;
	atomic_bool stop;
};

/* What is sent; copied out of the catalogue, so that nothing is held while the network is slow. */
struct message {
	uint64_t seq, tries;
	char desktop[CATALOGUE_NAME_LEN];
	struct curl_slist *recipients;
	char *text;
	size_t len, at;
};

bool mail_address_valid(const char *address)
{
	const char *at = strchr(address, '@');
	size_t len = strlen(address);

	if (!at || at == address || !at[1] || strchr(at + 1, '@') || len > ADDRESS_MAX)
		return false;
	for (const char *c = address; *c; c++) {
		if (*c <= ' ' || *c > '~' || strchr("<>()[]\\,;:\"", *c))
			return false;
	}
	return true;
}

/* ---- The message ---- */

/* One line of the body. */
static void put_line(FILE *out, const char *label, const char *text)
{
	if (!text[0])
		return;
	fprintf(out, "%s: ", label);
	for (const unsigned char *c = (const unsigned char *)text; *c; c++)
		fputc(*c < ' ' || *c == 0x7f ? '?' : *c, out);
	fputs("\r\n", out);
}

void mail_compose(FILE *out, const char *from, const char *to, const struct catalogue_notice *n)
{
	time_t at = (time_t)(n->at_ms / 1000);
	char date[64], when[CLOCK_TEXT_LEN];
	struct tm tm;

	gmtime_r(&at, &tm);
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S +0000", &tm);
	clock_format(n->at_ms, when);
	/* Kinds, severities and desktops are plain ASCII; what a guest named stands in the body only. */
	fprintf(out,
		"Date: %s\r\nFrom: <%s>\r\nTo: %s\r\nSubject: [godwit] %s: %s%s%s\r\n"
		"Message-ID: <notice-%llu-%llu@godwit>\r\nMIME-Version: 1.0\r\n"
		"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
		"Auto-Submitted: auto-generated\r\n\r\n",
		date, from, to, n->severity, n->kind, n->desktop[0] ? " on desktop " : "",
		n->desktop, (unsigned long long)n->seq, (unsigned long long)n->at_ms);
	put_line(out, "What", n->text);
	put_line(out, "When", when);
	put_line(out, "Desktop", n->desktop);
	put_line(out, "Snapshot", n->snapshot);
	put_line(out, "Details", n->details);
}

static void add_recipient(struct message *m, char **header, const char *address)
{
	CLEANUP_FREE char *angled = io_printf("<%s>", address);
	struct curl_slist *grown;
	char *longer;

	if (!angled || !mail_address_valid(address))
		return;
	grown = curl_slist_append(m->recipients, angled);
	longer = io_printf("%s%s%s", *header, m->recipients ? ", " : "", angled);
	if (grown && longer) {
		m->recipients = grown;
		free(*header);
		*header = TAKE(longer);
	}
	free(longer);
}

static void add_recipients(struct message *m, const struct server *s, struct db_conn *c,
			   char **header)
{
	CLEANUP_FREE char *list = strdup(s->config.notices_to);
	char owner[ADDRESS_MAX + 1] = "", *rest = list, *word;

	catalogue_desktop_owner(c, m->desktop, owner, sizeof(owner), NULL);
	while (list && (word = strsep(&rest, " ,"))) {
		if (*word && strcmp(word, owner) != 0)
			add_recipient(m, header, word);
	}
	if (owner[0])
		add_recipient(m, header, owner);
}

struct taking {
	struct mail *mail;
	struct db_conn *db;
	struct message *message;
};

static int take(void *arg, const struct catalogue_notice *n, struct err *err)
{
	struct taking *t = arg;
	struct message *m = t->message;
	const struct server *s = t->mail->server;
	CLEANUP_FREE char *header = strdup("");
	FILE *out;

	m->seq = n->seq;
	m->tries = n->mail_tries;
	snprintf(m->desktop, sizeof(m->desktop), "%s", n->desktop);
	if (header)
		add_recipients(m, s, t->db, &header);
	out = header ? open_memstream(&m->text, &m->len) : NULL;
	if (!out)
		return err_set(err, ENOMEM, "mail of notice %llu", (unsigned long long)n->seq);
	mail_compose(out, s->config.notices_from, header, n);
	return fclose(out) == 0 ? DB_STOP : err_set(err, ENOMEM, "mail");
}

/* ---- Sending ---- */

static size_t give(char *buf, size_t size, size_t n, void *arg)
{
	struct message *m = arg;
	size_t len = size * n < m->len - m->at ? size * n : m->len - m->at;

	memcpy(buf, m->text + m->at, len);
	m->at += len;
	return len;
}

static int stop_early(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	(void)a, (void)b, (void)c, (void)d;
	return atomic_load(&((struct mail *)arg)->stop);
}

static int set_options(CURL *curl, struct mail *mail, struct message *m, char *why)
{
	const struct server_config *c = &mail->server->config;
	CLEANUP_FREE char *from = io_printf("<%s>", c->notices_from);
	bool plain = strncmp(c->notices_smtp, "smtp://127.", 11) == 0 ||
		     strncmp(c->notices_smtp, "smtp://localhost", 16) == 0;
	CLEANUP_FREE uint8_t *password = NULL;
	size_t len;

	curl_easy_setopt(curl, CURLOPT_URL, c->notices_smtp);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
	/* Not in the clear over a network; a relay on this host needs no TLS. */
	curl_easy_setopt(curl, CURLOPT_USE_SSL, plain ? CURLUSESSL_TRY : CURLUSESSL_ALL);
	curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, plain ? 0L : 1L);
	curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, plain ? 0L : 2L);
	curl_easy_setopt(curl, CURLOPT_MAIL_FROM, from);
	curl_easy_setopt(curl, CURLOPT_MAIL_RCPT, m->recipients);
	curl_easy_setopt(curl, CURLOPT_READFUNCTION, give);
	curl_easy_setopt(curl, CURLOPT_READDATA, m);
	curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)SEND_TIMEOUT_S);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
	curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, stop_early);
	curl_easy_setopt(curl, CURLOPT_XFERINFODATA, mail);
	if (!c->notices_user[0])
		return 0;
	if (io_read_file(c->notices_password_file, 4096, &password, &len, NULL) < 0) {
		snprintf(why, CURL_ERROR_SIZE, "read %s: %s", c->notices_password_file,
			 strerror(errno));
		return -EIO;
	}
	password[strcspn((char *)password, "\r\n")] = '\0';
	curl_easy_setopt(curl, CURLOPT_USERNAME, c->notices_user);
	curl_easy_setopt(curl, CURLOPT_PASSWORD, (char *)password);
	return 0;
}

/* why: char[CURL_ERROR_SIZE]. */
static bool send_it(struct mail *mail, struct message *m, char *why)
{
	CURL *curl = curl_easy_init();
	CURLcode code;
	long status = 0;

	why[0] = '\0';
	if (!curl)
		return false;
	code = set_options(curl, mail, m, why) < 0 ? CURLE_READ_ERROR : curl_easy_perform(curl);
	if (code != CURLE_OK) {
		size_t len;

		if (!why[0])
			snprintf(why, CURL_ERROR_SIZE, "%s", curl_easy_strerror(code));
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
		len = strlen(why);
		if (status)
			snprintf(why + len, CURL_ERROR_SIZE - len, " (SMTP status %ld)", status);
	}
	curl_easy_cleanup(curl);
	return code == CURLE_OK;
}

static int remember(struct mail *mail, const struct message *m, const char *state, const char *why,
		    struct err *err)
{
	CLEANUP_CHANGE struct change change = { .held = false };
	uint64_t wait = mail->server->config.notices_retry_ms << (m->tries < 10 ? m->tries : 10);
	char seq[24];
	int r = change_begin(&change, mail->server, err);

	snprintf(seq, sizeof(seq), "%llu", (unsigned long long)m->seq);
	if (wait > longest_wait_ms)
		wait = longest_wait_ms;
	if (r == 0)
		r = catalogue_notice_mailed(change.db, m->seq, state, m->tries + 1,
					    clock_wall_ms() + wait, why, err);
	change_touch(&change, CHANGE_NOTICE, seq);
	return r < 0 ? r : change_commit(&change, err);
}

/* Return 1 when there may be more to do at once. */
static int next(struct mail *mail, struct err *err)
{
	struct message m = { .seq = 0 };
	struct db_conn *c = db_read(mail->server->db);
	struct taking taking = { mail, c, &m };
	char why[CURL_ERROR_SIZE] =
		"nobody to send it to: set [notices] to, or the desktop's owner";
	const char *state = "none";
	int r = catalogue_notice_mail_due(c, clock_wall_ms(), take, &taking, err);

	db_read_end(c);
	if (r == 0 && m.recipients) {
		bool sent = send_it(mail, &m, why);

		state = sent ? "sent" : m.tries + 1 < TRIES_MAX ? "queued" : "failed";
		if (sent)
			why[0] = '\0';
		else
			log_warning("mail of notice %llu: %s", (unsigned long long)m.seq, why);
	}
	if (r == 0)
		r = remember(mail, &m, state, why, err);
	else if (r == CATALOGUE_NONE)
		r = -EAGAIN;
	curl_slist_free_all(m.recipients);
	free(m.text);
	return r == 0 ? 1 : r;
}

static void *run(void *arg)
{
	struct mail *mail = arg;

	while (!atomic_load(&mail->stop)) {
		struct err err = { 0 };
		int r = next(mail, &err);

		if (r < 0 && r != -EAGAIN)
			log_error("mail: %s", err_text(&err));
		if (r < 0)
			clock_sleep_ms(LOOK_MS);
	}
	return NULL;
}

int mail_new(struct mail **out, struct server *server, struct err *err)
{
	const struct server_config *c = &server->config;
	struct mail *mail;
	int r;

	if (!c->notices_smtp[0])
		return 0;
	if (!mail_address_valid(c->notices_from))
		return err_say(err, EINVAL,
			       "[notices] from must be an address like godwit@example.org");
	mail = calloc(1, sizeof(*mail));
	if (!mail || curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
		free(mail);
		return err_set(err, ENOMEM, "prepare mail");
	}
	mail->server = server;
	r = pthread_create(&mail->thread, NULL, run, mail);
	if (r) {
		free(mail);
		return err_set(err, r, "start the mail thread");
	}
	*out = mail;
	return 0;
}

void mail_free(struct mail *mail)
{
	atomic_store(&mail->stop, true);
	pthread_join(mail->thread, NULL);
	free(mail);
}
