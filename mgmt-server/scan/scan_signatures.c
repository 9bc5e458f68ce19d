/* scan_signatures.c - see scan_signatures.h. */
#include "mgmt-server/scan/scan_signatures.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "common/io.h"
#include "common/json.h"
#include "mgmt-server/scan/engine_check.h"
#include "mgmt-server/scan/sig_files.h"
#include "mgmt-server/scan/sig_tar.h"

enum { EXIT_COULD_NOT_RUN = 3 };
static const uint64_t bundle_max = 4ULL << 30;

/* ---- signatures FOLDER [--quick] ---- */

static json_t *describe(const struct sig_files *s)
{
	json_t *files = json_array();

	for (size_t i = 0; i < s->count; i++)
		json_array_append_new(files, json_pack("{ss sI sI sI}", "name", s->files[i].name,
						       "bytes", (json_int_t)s->files[i].bytes,
						       "built_s", (json_int_t)s->files[i].built_s,
						       "version", (json_int_t)s->files[i].version));
	return json_pack("{so ss sI}", "files", files, "digest", s->digest, "built_s",
			 (json_int_t)s->built_s);
}

static int load(const char *folder, json_t *object, struct err *err)
{
	struct engine_hello hello;
	char program[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 32);
	int r;

	if (n < 0)
		return err_set(err, errno, "find where godwit-scan is installed");
	program[n] = '\0';
	strcpy(strrchr(program, '/') + 1, "godwit-scan-engine");
	r = engine_check_run(program, folder, &hello, err);
	if (r < 0)
		return r;
	json_object_set_new(object, "signatures", json_integer(hello.signatures));
	json_object_set_new(object, "engine", json_string(hello.version));
	json_object_set_new(object, "signature_version", json_string(hello.signature_version));
	return 0;
}

static int signatures(int argc, char **argv, struct err *err)
{
	bool quick = argc == 4 && strcmp(argv[3], "--quick") == 0;
	struct sig_files files = { .files = NULL };
	CLEANUP(json_decref) json_t *object = NULL;
	CLEANUP_FREE char *text = NULL;
	int r;

	if (argc != 3 && !quick)
		return err_say(err, EINVAL, "usage: godwit-scan signatures FOLDER [--quick]");
	r = sig_files_list(argv[2], &files, err);
	if (r < 0)
		return r;
	object = describe(&files);
	sig_files_deinit(&files);
	r = quick ? 0 : load(argv[2], object, err);
	if (r < 0)
		return r;
	text = json_text(object);
	return text && puts(text) >= 0 && fflush(stdout) == 0
		       ? 0
		       : err_set(err, EIO, "write the output");
}

/* ---- unpack BUNDLE FOLDER ---- */

struct unpacking {
	gzFile archive;
	int folder, fd;
	uint64_t modified_s;
	unsigned count;
};

static int read_archive(void *arg, uint8_t *buf, size_t len)
{
	struct unpacking *u = arg;
	int n = gzread(u->archive, buf, (unsigned)len);

	return n < 0 ? -EIO : n;
}

static int begin_file(void *arg, const char *name, uint64_t size, uint64_t modified_s,
		      struct err *err)
{
	struct unpacking *u = arg;

	(void)size;
	if (!sig_files_name_valid(name))
		return SIG_TAR_SKIP; /* freshclam.dat, a README … */
	u->fd = openat(u->folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (u->fd < 0 && errno == EEXIST)
		return err_say(err, EINVAL, "the bundle holds %s twice", name);
	if (u->fd < 0)
		return err_set(err, errno, "write %s", name);
	u->modified_s = modified_s;
	u->count++;
	return 0;
}

static int write_data(void *arg, const uint8_t *buf, size_t len, struct err *err)
{
	struct unpacking *u = arg;
	int r = io_write_full(u->fd, buf, len);

	return r < 0 ? err_set(err, -r, "write the unpacked signatures") : 0;
}

/* A file keeps its time: it says how old its signatures are. One from the future says nothing. */
static int end_file(void *arg, struct err *err)
{
	struct unpacking *u = arg;
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT },
				     { .tv_sec = (time_t)u->modified_s } };
	int fd = u->fd;
	bool good = u->modified_s > (uint64_t)time(NULL) || futimens(fd, times) == 0;

	u->fd = -1;
	good = fsync(fd) == 0 && good;
	if (close(fd) < 0 || !good)
		return err_set(err, errno, "write the unpacked signatures");
	return 0;
}

static int unpack(int argc, char **argv, struct err *err)
{
	struct unpacking u = { .fd = -1, .folder = -1 };
	struct sig_tar_order order = { .read = read_archive,
				       .file = begin_file,
				       .data = write_data,
				       .end = end_file,
				       .arg = &u,
				       .max_bytes = bundle_max };
	int r;

	if (argc != 4)
		return err_say(err, EINVAL, "usage: godwit-scan unpack BUNDLE FOLDER");
	u.archive = gzopen(argv[2], "rb");
	if (!u.archive)
		return err_set(err, errno ? errno : ENOMEM, "open %s", argv[2]);
	u.folder = open(argv[3], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = u.folder < 0 ? err_set(err, errno, "open %s", argv[3]) : sig_tar_read(&order, err);
	gzclose(u.archive);
	base_close(u.fd);
	base_close(u.folder);
	if (r == 0 && u.count == 0)
		r = err_say(err, ENOENT, "the bundle holds no file of signatures");
	if (r == 0)
		printf("{\"files\":%u}\n", u.count);
	return r;
}

/* ---- Both ---- */

static const struct {
	const char *name;
	int (*run)(int argc, char **argv, struct err *err);
} commands[] = { { "signatures", signatures }, { "unpack", unpack } };

bool scan_signatures_wanted(int argc, char **argv)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (argc > 1 && strcmp(argv[1], commands[i].name) == 0)
			return true;
	}
	return false;
}

int scan_signatures_main(int argc, char **argv)
{
	struct err err = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (strcmp(argv[1], commands[i].name) != 0)
			continue;
		if (commands[i].run(argc, argv, &err) == 0)
			return 0;
		fprintf(stderr, "godwit-scan: %s\n", err_text(&err));
	}
	return EXIT_COULD_NOT_RUN;
}
