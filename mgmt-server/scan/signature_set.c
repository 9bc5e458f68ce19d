#include "mgmt-server/scan/signature_set.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base.h"
#include "common/hex.h"
#include "common/io.h"
#include "mgmt-server/scan/child.h"

enum { PIECE = 256 << 10, ENGINE_SAYS_MAX = 128 };

DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free);

/* What changes in freshclam's folder without changing a signature. */
static int is_signatures(const struct dirent *entry)
{
	static const char *const others[] = { "freshclam.dat", "mirrors.dat" };
	size_t len = strlen(entry->d_name);

	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		if (!strcmp(entry->d_name, others[i]))
			return 0;
	}
	return entry->d_name[0] != '.' && (len < 4 || strcmp(entry->d_name + len - 4, ".tmp") != 0);
}

static int hash_file(EVP_MD_CTX *ctx, int folder, const char *name, uint8_t *buf, unsigned *files,
		     struct err *err)
{
	CLEANUP_FD int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, errno, "read the signatures in %s", name);
	if (!S_ISREG(st.st_mode))
		return 0;
	(*files)++;
	EVP_DigestUpdate(ctx, name, strlen(name) + 1);
	EVP_DigestUpdate(ctx, &st.st_size, sizeof(st.st_size));
	while ((n = read(fd, buf, PIECE)) > 0) {
		if (!EVP_DigestUpdate(ctx, buf, (size_t)n))
			return err_say(err, EIO, "hash the signatures in %s", name);
	}
	return n < 0 ? err_set(err, errno, "read the signatures in %s", name) : 0;
}

static int hash_folder(EVP_MD_CTX *ctx, const char *path, struct err *err)
{
	CLEANUP_FD int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_FREE uint8_t *buf = malloc(PIECE);
	struct dirent **names = NULL;
	unsigned files = 0;
	int count, r = 0;

	if (folder < 0)
		return err_set(err, errno, "open the signature folder %s", path);
	count = buf ? scandir(path, &names, is_signatures, alphasort) : -1;
	if (count < 0)
		return err_set(err, errno, "read the signature folder %s", path);
	for (int i = 0; i < count; i++) {
		if (r == 0)
			r = hash_file(ctx, folder, names[i]->d_name, buf, &files, err);
		free(names[i]);
	}
	free(names);
	if (r == 0 && !files)
		r = err_say(err, ENOENT,
			    "no signatures in %s: run freshclam, or name another folder", path);
	return r;
}

/* The same signatures can say something else in another libclamav. */
static int hash_engine(EVP_MD_CTX *ctx, const char *program, struct err *err)
{
	const char *argv[] = { program, "--version", NULL };
	char text[ENGINE_SAYS_MAX];
	size_t len = 0;
	ssize_t n;
	int pair[2], status;
	pid_t pid;

	if (pipe2(pair, O_CLOEXEC) < 0)
		return err_set(err, errno, "ask %s for its version", program);
	pid = child_start_apart(argv, &pair[1], 1, err);
	close(pair[1]);
	while (pid > 0 && len < sizeof(text) &&
	       (n = read(pair[0], text + len, sizeof(text) - len)) > 0)
		len += (size_t)n;
	close(pair[0]);
	if (pid < 0)
		return (int)pid;
	status = child_end(pid, 0);
	if (status || !len)
		return err_say(err, EIO, "%s does not say its version", program);
	return EVP_DigestUpdate(ctx, text, len) ? 0 : err_say(err, EIO, "hash a version");
}

int signature_set_version(const char *folder, const char *engine, char *version, struct err *err)
{
	CLEANUP(EVP_MD_CTX_free) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t digest[EVP_MAX_MD_SIZE];
	int r;

	if (!ctx || !EVP_DigestInit_ex2(ctx, EVP_sha256(), NULL))
		return err_set(err, ENOMEM, "hash the signatures in %s", folder);
	r = hash_engine(ctx, engine, err);
	if (r == 0)
		r = hash_folder(ctx, folder, err);
	if (r == 0 && !EVP_DigestFinal_ex(ctx, digest, NULL))
		r = err_say(err, EIO, "hash the signatures in %s", folder);
	if (r == 0)
		hex_encode(digest, 32, version);
	return r;
}
