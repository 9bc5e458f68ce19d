/* nbd_plugin.h - the disks of a snapshot as read-only NBD exports: all of an nbdkit plugin but where chunks come from.
 *
 * A plugin's own file finds manifest and source, hands them over with nbd_plugin_serve, and puts the functions below into
 * its struct nbdkit_plugin. Each volume of kind disk is an export under its name; the default export ("") is the only
 * disk when there is just one. This file is not for programs: nbdkit provides what it calls.
 * Source: nbdkit-plugin(3).
 */
#ifndef GODWIT_SNAPSHOT_NBD_PLUGIN_H
#define GODWIT_SNAPSHOT_NBD_PLUGIN_H

#include <stdint.h>

#include "snapshot/manifest.h"

struct nbdkit_exports;
struct nbdkit_extents;

/* Before the first open; both must stay. */
void nbd_plugin_serve(const struct manifest *manifest, struct chunk_source source);

/* The members of struct nbdkit_plugin (API version 2) of the same names. */
int nbd_plugin_list_exports(int readonly, int is_tls, struct nbdkit_exports *exports);
void *nbd_plugin_open(int readonly);
void nbd_plugin_close(void *handle);
int64_t nbd_plugin_get_size(void *handle);
int nbd_plugin_can_multi_conn(void *handle);
int nbd_plugin_can_extents(void *handle);
int nbd_plugin_pread(void *handle, void *buf, uint32_t count, uint64_t offset, uint32_t flags);
int nbd_plugin_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags,
		       struct nbdkit_extents *extents);

#endif
