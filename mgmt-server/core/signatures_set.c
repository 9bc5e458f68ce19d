/* signatures_set.c - see signatures_set.h. */
#include "mgmt-server/core/signatures_set.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"

/* A folder without folders inside. */
static void remove_flat(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
	rmdir(folder);
}

int signatures_set_empty(const char *folder, struct err *err)
{
	remove_flat(folder);
	return io_make_folders(folder, 0700, err);
}

int signatures_set_link(const char *from, const char *to, struct err *err)
{
	DIR *source = opendir(from);
	CLEANUP_FD int target = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *entry;
	struct stat st;
	int r = 0;

	if (!source || target < 0)
		r = err_set(err, errno, "open %s", source ? to : from);
	while (r == 0 && (entry = readdir(source))) {
		if (fstatat(dirfd(source), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(st.st_mode) &&
		    linkat(dirfd(source), entry->d_name, target, entry->d_name, 0) < 0)
			r = err_set(err, errno, "link %s/%s", to, entry->d_name);
	}
	if (source)
		closedir(source);
	return r;
}

/* The set that @link names, without folders; "" when there is none. */
static void named(const char *link, char *name, size_t size)
{
	char target[PATH_MAX];
	ssize_t n = readlink(link, target, sizeof(target) - 1);
	const char *slash;

	target[n > 0 ? n : 0] = '\0';
	slash = strrchr(target, '/');
	snprintf(name, size, "%.127s", slash ? slash + 1 : "");
}

static void remove_others(const char *sets, const char *keep, const char *keep_too)
{
	DIR *dir = opendir(sets);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		CLEANUP_FREE char *path = io_printf("%s/%s", sets, entry->d_name);

		if (entry->d_name[0] != '.' && strcmp(entry->d_name, keep) != 0 &&
		    strcmp(entry->d_name, keep_too) != 0 && path)
			remove_flat(path);
	}
	if (dir)
		closedir(dir);
}

int signatures_set_install(const char *root, const char *name, struct err *err)
{
	CLEANUP_FREE char *sets = io_printf("%s/sets", root);
	CLEANUP_FREE char *candidate = io_printf("%s/sets/new", root);
	CLEANUP_FREE char *set = io_printf("%s/sets/%s", root, name);
	CLEANUP_FREE char *link = io_printf("%s/current", root);
	CLEANUP_FREE char *link_new = io_printf("%s/current.new", root);
	CLEANUP_FREE char *target = io_printf("sets/%s", name);
	char before[128];
	int r;

	if (!sets || !candidate || !set || !link || !link_new || !target)
		return err_set(err, ENOMEM, "install signatures");
	named(link, before, sizeof(before));
	if (strcmp(before, name) != 0) /* a set of the same files may be there already */
		remove_flat(set);
	r = io_sync_folder(candidate, err);
	if (r == 0 && rename(candidate, set) < 0 && errno != ENOTEMPTY && errno != EEXIST)
		r = err_set(err, errno, "rename %s", candidate);
	if (r == 0)
		r = io_sync_folder(sets, err);
	unlink(link_new);
	if (r == 0 && (symlink(target, link_new) < 0 || rename(link_new, link) < 0))
		r = err_set(err, errno, "make the link %s", link);
	if (r == 0)
		r = io_sync_folder(root, err);
	if (r == 0)
		remove_others(sets, name, before);
	return r;
}
