#include "snapshot/store_staged.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/hex.h"
#include "common/io.h"

enum { SWITCH_MAX = 1 << 30 };

/* The mirror's own index, if somebody had it made, names packs that are about to go: it is made again when it is needed. */
static int index_drop(const char *path, struct err *err)
{
	CLEANUP_FREE char *state = io_printf("%s/index/state", path);

	if (!state)
		return err_set(err, ENOMEM, "mirror");
	if (unlink(state) == 0)
		return io_sync_parent(state, err);
	return errno == ENOENT ? 0 : err_set(err, errno, "delete %s", state);
}

int store_staged_switch(const char *path, const struct pack_name *deleted, size_t n,
			struct err *err)
{
	CLEANUP_FREE char *incoming = io_printf("%s/incoming", path);
	CLEANUP_FREE char *file = io_printf("%s/incoming/switch", path);
	CLEANUP_FREE char *text = malloc(n * PACK_NAME_TEXT_LEN + 1);
	int r;

	if (!incoming || !file || !text)
		return err_set(err, ENOMEM, "mirror");
	for (size_t i = 0; i < n; i++) {
		pack_name_text(&deleted[i], text + i * PACK_NAME_TEXT_LEN);
		text[(i + 1) * PACK_NAME_TEXT_LEN - 1] = '\n';
	}
	r = io_sync_folder(incoming, err);
	if (r == 0 && n)
		r = index_drop(path, err);
	return r < 0 ? r : io_replace_file(file, text, n * PACK_NAME_TEXT_LEN, 0600, err);
}

int store_staged_pending(const char *path, struct pack_name **deleted, size_t *n, struct err *err)
{
	CLEANUP_FREE char *file = io_printf("%s/incoming/switch", path);
	CLEANUP_FREE struct pack_name *names = NULL;
	CLEANUP_FREE uint8_t *text = NULL;
	size_t len;
	int r;

	*deleted = NULL;
	*n = 0;
	if (!file)
		return err_set(err, ENOMEM, "mirror");
	if (access(file, F_OK) < 0)
		return 0;
	r = io_read_file(file, SWITCH_MAX, &text, &len, err);
	if (r < 0) /* -ENOENT: done meanwhile */
		return r == -ENOENT ? 0 : r;
	names = calloc(len / PACK_NAME_TEXT_LEN + 1, sizeof(*names));
	if (!names)
		return err_set(err, ENOMEM, "read %s", file);
	for (size_t at = 0; at < len; at += PACK_NAME_TEXT_LEN) {
		char name[PACK_NAME_TEXT_LEN];

		if (len - at < PACK_NAME_TEXT_LEN || text[at + PACK_NAME_TEXT_LEN - 1] != '\n')
			return err_say(
				err, EBADMSG,
				"%s is damaged; delete it, then verify the mirror and mirror again",
				file);
		memcpy(name, text + at, sizeof(name) - 1);
		name[sizeof(name) - 1] = '\0';
		if (hex_decode(name, names[*n].bytes, PACK_NAME_LEN) < 0)
			return err_say(
				err, EBADMSG,
				"%s is damaged; delete it, then verify the mirror and mirror again",
				file);
		++*n;
	}
	*deleted = TAKE(names);
	return 1;
}

static bool is_pack(const char *file)
{
	size_t len = strlen(file);

	return len == PACK_NAME_TEXT_LEN - 1 + strlen(".pack") &&
	       strcmp(file + len - 5, ".pack") == 0;
}

static int move_in(const char *path, struct err *err)
{
	CLEANUP_FREE char *incoming = io_printf("%s/incoming", path);
	DIR *dir = incoming ? opendir(incoming) : NULL;
	struct dirent *e;
	int r = 0;

	if (!dir)
		return err_set(err, incoming ? errno : ENOMEM, "open the incoming packs of %s",
			       path);
	while (r == 0 && (e = readdir(dir))) {
		CLEANUP_FREE char *from = io_printf("%s/%s", incoming, e->d_name);
		CLEANUP_FREE char *to = io_printf("%s/packs/%s", path, e->d_name);

		if (!from || !to)
			r = err_set(err, ENOMEM, "mirror");
		else if (is_pack(e->d_name) && rename(from, to) < 0)
			r = err_set(err, errno, "rename %s to %s", from, to);
	}
	closedir(dir);
	return r;
}

int store_staged_finish(const char *path, struct err *err)
{
	CLEANUP_FREE char *packs = io_printf("%s/packs", path);
	CLEANUP_FREE char *file = io_printf("%s/incoming/switch", path);
	CLEANUP_FREE struct pack_name *deleted = NULL;
	size_t n;
	int r;

	if (!packs || !file)
		return err_set(err, ENOMEM, "mirror");
	r = store_staged_pending(path, &deleted, &n, err);
	if (r <= 0)
		return r;
	r = move_in(path, err);
	for (size_t i = 0; r == 0 && i < n; i++) {
		char name[PACK_NAME_TEXT_LEN];
		CLEANUP_FREE char *pack = NULL;

		pack_name_text(&deleted[i], name);
		pack = io_printf("%s/%s.pack", packs, name);
		if (!pack)
			r = err_set(err, ENOMEM, "mirror");
		else if (unlink(pack) < 0 && errno != ENOENT)
			r = err_set(err, errno, "delete %s", pack);
	}
	if (r == 0)
		r = io_sync_folder(packs, err);
	if (r == 0 && unlink(file) < 0)
		r = err_set(err, errno, "delete %s", file);
	return r < 0 ? r : io_sync_parent(file, err);
}
