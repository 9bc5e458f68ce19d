#include "hypervisor/disks.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/io.h"

enum { IMAGE_TOOL_TIMEOUT_MS = 60000 };

int disks_create(const struct machine_disk *disk, const char *folder, const char *nbd_socket,
		 const char *qemu_img, struct err *err)
{
	CLEANUP_FREE char *file = io_printf("%s/%s.qcow2", folder, disk->name);
	CLEANUP_FREE char *link = io_printf("%s/%s.nbd", folder, disk->name);
	CLEANUP_FREE char *size = io_printf("%llu", (unsigned long long)disk->size);
	char *const argv[] = { (char *)qemu_img,     "create", "-q", "-f", "qcow2", "-o",
			       "cluster_size=65536", file,     size, NULL };
	int r;

	if (!file || !link || !size)
		return err_set(err, ENOMEM, "create %s", disk->name);
	r = process_run(argv, IMAGE_TOOL_TIMEOUT_MS, NULL, NULL, err);
	if (r < 0)
		return err_wrap(err, r, "create the overlay of %s", disk->name);
	if (symlink(nbd_socket, link) < 0)
		return err_set(err, errno, "link %s to %s", link, nbd_socket);
	return 0;
}

int disks_add_bitmap(struct qmp *qmp, const char *disk, const char *name, struct err *err)
{
	return qmp_run(qmp, "block-dirty-bitmap-add",
		       json_pack("{s:s, s:s, s:i}", "node", disk, "name", name, "granularity",
				 DISKS_GRANULARITY),
		       NULL, err);
}

static void look_at_bitmaps(const json_t *bitmaps, const char *name, struct disks_node *out)
{
	const json_t *bitmap;
	size_t i;

	json_array_foreach (bitmaps, i, bitmap) {
		const char *found = json_string_value(json_object_get(bitmap, "name"));

		if (!found || strcmp(found, name) != 0)
			continue;
		out->has_bitmap = true;
		out->bitmap_usable = !json_is_true(json_object_get(bitmap, "inconsistent")) &&
				     !json_is_true(json_object_get(bitmap, "busy"));
	}
}

int disks_look(struct qmp *qmp, const char *node, const char *bitmap, struct disks_node *out,
	       struct err *err)
{
	CLEANUP(json_decref) json_t *nodes = NULL;
	const json_t *it;
	size_t i;
	int r;

	*out = (struct disks_node){ .found = false };
	r = qmp_run(qmp, "query-named-block-nodes", json_pack("{s:b}", "flat", 0), &nodes, err);
	if (r < 0)
		return r;
	json_array_foreach (nodes, i, it) {
		const char *name = json_string_value(json_object_get(it, "node-name"));

		if (!name || strcmp(name, node) != 0)
			continue;
		out->found = true;
		/* backing_file_depth is 0 in a flat answer. */
		out->has_backing = json_is_string(json_object_get(it, "backing_file"));
		if (bitmap)
			look_at_bitmaps(json_object_get(it, "dirty-bitmaps"), bitmap, out);
	}
	return 0;
}
