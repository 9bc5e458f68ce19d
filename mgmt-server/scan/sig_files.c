/* sig_files.c - see sig_files.h. */
#include "mgmt-server/scan/sig_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/hex.h"

enum { HEADER_LEN = 512, VERSION_FIELD = 2, TIME_FIELD = 8, FILES_MAX = 10000 };

bool sig_files_name_valid(const char *name)
{
	static const char *const kinds[] = {
		"cvd", "cld", "cud", "hdb", "hdu", "hsb", "hsu", "mdb", "mdu", "msb",  "msu",
		"ndb", "ndu", "ldb", "ldu", "sdb", "db",  "fp",  "sfp", "ign", "ign2", "idb",
		"cdb", "cbc", "crb", "yar", "pdb", "wdb", "gdb", "ftm", "cfg", "imp",  "yara",
	};
	const char *dot = strrchr(name, '.');
	size_t len = strlen(name);

	if (!dot || dot == name || len >= sizeof(((struct sig_file *)0)->name) ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") !=
		    len)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (strcmp(dot + 1, kinds[i]) == 0)
			return true;
	}
	return false;
}

int sig_files_header(const char *header, size_t len, uint64_t *version, uint64_t *built_s)
{
	char text[HEADER_LEN + 1];
	char *rest = text, *field, *end;
	unsigned at = 0;

	if (len < HEADER_LEN || memcmp(header, "ClamAV-VDB:", 11) != 0)
		return -EINVAL;
	memcpy(text, header, HEADER_LEN);
	text[HEADER_LEN] = '\0';
	*version = *built_s = 0;
	while ((field = strsep(&rest, ":"))) {
		uint64_t *into = at == VERSION_FIELD ? version : at == TIME_FIELD ? built_s : NULL;

		if (into)
			*into = strtoull(field, &end, 10);
		if (into && end == field)
			return -EINVAL;
		at++;
	}
	return at > TIME_FIELD ? 0 : -EINVAL;
}

static int look_at(int folder, const char *name, struct sig_file *f)
{
	CLEANUP_FD int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char header[HEADER_LEN];
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ENOENT;
	*f = (struct sig_file){ .bytes = (uint64_t)st.st_size,
				.built_s = (uint64_t)st.st_mtim.tv_sec };
	memcpy(f->name, name, strlen(name)); /* shorter: its name is valid */
	n = pread(fd, header, sizeof(header), 0);
	if (n == sizeof(header)) {
		uint64_t version, built_s;

		if (sig_files_header(header, sizeof(header), &version, &built_s) == 0) {
			f->version = version;
			f->built_s = built_s;
		}
	}
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct sig_file *)a)->name, ((const struct sig_file *)b)->name);
}

static int digest(struct sig_files *s)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t hash[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	int good = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);

	for (size_t i = 0; good && i < s->count; i++) {
		char line[256];
		int n = snprintf(line, sizeof(line), "%s %llu %llu\n", s->files[i].name,
				 (unsigned long long)s->files[i].bytes,
				 (unsigned long long)s->files[i].built_s);

		good = EVP_DigestUpdate(ctx, line, (size_t)n);
	}
	good = good && EVP_DigestFinal_ex(ctx, hash, &len) && len == 32;
	EVP_MD_CTX_free(ctx);
	if (good)
		hex_encode(hash, 32, s->digest);
	return good ? 0 : -ENOMEM;
}

static int add(struct sig_files *s, const struct sig_file *f)
{
	struct sig_file *grown = realloc(s->files, (s->count + 1) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	s->files = grown;
	s->files[s->count++] = *f;
	if (f->built_s > s->built_s)
		s->built_s = f->built_s;
	return 0;
}

int sig_files_list(const char *folder, struct sig_files *out, struct err *err)
{
	struct sig_files s = { .files = NULL };
	DIR *dir = opendir(folder);
	struct dirent *entry;
	struct sig_file f;
	int r = 0;

	if (!dir)
		return err_set(err, errno, "open the signature folder %s", folder);
	while (r == 0 && s.count < FILES_MAX && (entry = readdir(dir))) {
		if (sig_files_name_valid(entry->d_name) &&
		    look_at(dirfd(dir), entry->d_name, &f) == 0)
			r = add(&s, &f);
	}
	closedir(dir);
	if (r == 0 && s.count > 0) {
		qsort(s.files, s.count, sizeof(*s.files), by_name);
		r = digest(&s);
	}
	if (r == 0 && s.count > 0) {
		*out = s;
		return 0;
	}
	sig_files_deinit(&s);
	return r < 0 ? err_set(err, -r, "look at the signatures in %s", folder)
		     : err_say(err, ENOENT, "there are no signatures in %s", folder);
}

void sig_files_deinit(struct sig_files *s)
{
	free(s->files);
	s->files = NULL;
}
