#include "hypervisor/hypervisor.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"
#include "common/log.h"
#include "hypervisor/desktop.h"
#include "hypervisor/desktop_start.h"
#include "hypervisor/desktop_watch.h"

static struct desktop *find(const struct hypervisor *hv, const char *name)
{
	struct desktop *d;

	for (d = hv->desktops; d && strcmp(d->record.desktop, name) != 0; d = d->next)
		;
	return d;
}

int hypervisor_find(struct hypervisor *hv, const char *name, struct desktop **out, struct err *err)
{
	struct desktop *d;

	pthread_mutex_lock(&hv->lock);
	d = find(hv, name);
	if (d)
		*out = desktop_ref(d);
	pthread_mutex_unlock(&hv->lock);
	return d ? 0 : err_say(err, ENOENT, "no desktop %s here", name);
}

int hypervisor_add(struct hypervisor *hv, struct desktop *d, struct err *err)
{
	bool there;

	pthread_mutex_lock(&hv->lock);
	there = find(hv, d->record.desktop) != NULL;
	if (!there) {
		d->next = hv->desktops;
		hv->desktops = d;
	}
	pthread_mutex_unlock(&hv->lock);
	return there ? err_say(err, EEXIST, "desktop %s is here already", d->record.desktop) : 0;
}

void hypervisor_remove(struct hypervisor *hv, struct desktop *d)
{
	struct desktop **at;
	bool there;

	pthread_mutex_lock(&hv->lock);
	for (at = &hv->desktops; *at && *at != d; at = &(*at)->next)
		;
	there = *at != NULL;
	if (there)
		*at = d->next;
	pthread_mutex_unlock(&hv->lock);
	if (there)
		desktop_unref(d);
}

json_t *hypervisor_list(struct hypervisor *hv)
{
	json_t *array = json_array();

	pthread_mutex_lock(&hv->lock);
	for (struct desktop *d = hv->desktops; array && d; d = d->next)
		json_array_append_new(array, desktop_status(d));
	pthread_mutex_unlock(&hv->lock);
	return array;
}

static int each_folder(struct hypervisor *hv,
		       int (*fn)(struct hypervisor *hv, const char *name, struct err *err),
		       struct err *err)
{
	CLEANUP_FREE char *path = io_printf("%s/desktops", hv->state);
	struct dirent *entry;
	DIR *dir;

	if (!path)
		return err_set(err, ENOMEM, "look for desktops");
	dir = opendir(path);
	if (!dir)
		return err_set(err, errno, "look for desktops in %s", path);
	while ((entry = readdir(dir))) {
		struct err why = { .code = 0 };

		if (desktop_record_check_name(entry->d_name, NULL) == 0 &&
		    fn(hv, entry->d_name, &why) < 0)
			log_error("%s", err_text(&why));
	}
	closedir(dir);
	return 0;
}

/* Taking hold of a QEMU may take its time: before, each has its guard (as a rule the one that it always had). */
int hypervisor_attach(struct hypervisor *hv, struct err *err)
{
	int r = each_folder(hv, desktop_start_guard, err);

	return r < 0 ? r : each_folder(hv, desktop_start_attach, err);
}

void hypervisor_detach(struct hypervisor *hv)
{
	while (hv->desktops) {
		struct desktop *d = hv->desktops;

		desktop_watch_stop(d);
		hypervisor_remove(hv, d);
	}
}
