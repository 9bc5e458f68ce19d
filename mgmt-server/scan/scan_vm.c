#include "mgmt-server/scan/scan_vm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"
#include "mgmt-server/scan/child.h"

static const char qemu_program[] = "/usr/bin/qemu-system-x86_64";
static const char qemu_img_program[] = "/usr/bin/qemu-img";

enum { ARGS_MAX = 160, MEMORY_MIB = 768 };

/* The command line of QEMU as it grows; every string is owned. */
struct command {
	char *args[ARGS_MAX];
	size_t count;
	bool failed;
};

static void add(struct command *c, char *arg)
{
	if (!arg || c->count + 1 >= ARGS_MAX) {
		free(arg);
		c->failed = true;
		return;
	}
	c->args[c->count++] = arg;
}

static void add_fixed(struct command *c, const char *const *args, size_t n)
{
	for (size_t i = 0; i < n; i++)
		add(c, strdup(args[i]));
}

static void command_free(struct command *c)
{
	for (size_t i = 0; i < c->count; i++)
		free(c->args[i]);
}

struct run {
	const struct scan_vm *order;
	char folder[64]; /* private: the overlays */
	char *images;    /* where vmlinuz and initrd are */
	const char *nbd; /* socket of the volume */
};

static int make_overlay(const struct run *run, size_t i, struct err *err)
{
	CLEANUP_FREE char *path = io_printf("%s/%zu.qcow2", run->folder, i);
	CLEANUP_FREE char *size =
		io_printf("%llu", (unsigned long long)run->order->disks[i].length);
	const char *argv[] = { qemu_img_program, "create", "-q", "-f", "qcow2", path, size, NULL };
	pid_t pid;
	int status;

	if (!path || !size)
		return err_set(err, ENOMEM, "make an overlay");
	pid = child_start(argv, NULL, 0, err);
	if (pid < 0)
		return (int)pid;
	status = child_end(pid, 0);
	return status ? err_say(err, EIO, "qemu-img could not make an overlay in %s", run->folder)
		      : 0;
}

static void add_disk(struct command *c, const struct run *run, size_t i)
{
	const struct scan_vm_disk *d = &run->order->disks[i];

	add(c, strdup("-blockdev"));
	add(c, io_printf("{\"driver\":\"raw\",\"node-name\":\"part%zu\",\"file\":\"volume\",\"read-"
			 "only\":true,"
			 "\"offset\":%llu,\"size\":%llu}",
			 i, (unsigned long long)d->offset, (unsigned long long)d->length));
	add(c, strdup("-blockdev"));
	add(c, io_printf("{\"driver\":\"qcow2\",\"node-name\":\"disk%zu\",\"backing\":\"part%zu\","
			 "\"file\":{\"driver\":"
			 "\"file\",\"filename\":\"%s/%zu.qcow2\"}}",
			 i, i, run->folder, i));
	add(c, strdup("-device"));
	add(c, io_printf("virtio-blk-pci,drive=disk%zu", i));
}

static char *types_argument(const struct scan_vm *order)
{
	char *text = strdup("console=ttyS0 quiet loglevel=1 panic=-1 godwit.types=");

	for (size_t i = 0; text && i < order->disk_count; i++) {
		char *longer = io_printf("%s%s%s", text, i ? "," : "", order->disks[i].type);

		free(text);
		text = longer;
	}
	return text;
}

static void build_command(struct command *c, const struct run *run)
{
	/* TCG also where KVM works: the guest parses hostile bytes, and emulation is the smaller surface. Descriptor 3 is
	 * the port's other end. */
	static const char *const fixed[] = {
		qemu_program,
		"-nodefaults",
		"-no-user-config",
		"-display",
		"none",
		"-no-reboot",
		"-machine",
		"q35,usb=off",
		"-accel",
		"tcg,thread=multi",
		"-cpu",
		"qemu64",
		"-smp",
		"1", /* with more, TCG of QEMU 10.0 can fail in iotlb_to_section() on a busy machine */
		"-sandbox",
		"on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-chardev",
		"socket,id=out,fd=3",
		"-device",
		"virtio-serial-pci",
		"-device",
		"virtserialport,chardev=out,nr=1",
	};

	add_fixed(c, fixed, ARRAY_LEN(fixed));
	add(c, strdup("-m"));
	add(c, io_printf("%d", MEMORY_MIB));
	add(c, strdup("-kernel"));
	add(c, io_printf("%s/vmlinuz", run->images));
	add(c, strdup("-initrd"));
	add(c, io_printf("%s/initrd", run->images));
	add(c, strdup("-append"));
	add(c, types_argument(run->order));
	add(c, strdup("-blockdev"));
	add(c, io_printf("{\"driver\":\"nbd\",\"node-name\":\"volume\",\"read-only\":true,"
			 "\"server\":{\"type\":\"unix\","
			 "\"path\":\"%s\"}}",
			 run->nbd));
	for (size_t i = 0; i < run->order->disk_count; i++)
		add_disk(c, run, i);
}

static int run_vm(const struct run *run, struct err *err)
{
	const struct scan_vm *o = run->order;
	struct command command = { 0 };
	struct scan_reader reader = { .scan = o->scan,
				      .volume = o->volume,
				      .program = "godwit-scan-vm",
				      .partition = o->partition,
				      .part = o->part,
				      .said = o->said };
	int pair[2], r = 0;
	pid_t qemu = -1;

	for (size_t i = 0; r == 0 && i < o->disk_count; i++)
		r = make_overlay(run, i, err);
	if (r < 0)
		return r;
	build_command(&command, run);
	if (command.failed)
		r = err_set(err, ENOMEM, "start the virtual machine");
	else if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		r = err_set(err, errno, "start the virtual machine");
	if (r == 0) {
		qemu = child_start((const char *const *)command.args, &pair[1], 1, err);
		close(pair[1]);
		reader.input_fd = pair[0];
		r = qemu < 0 ? (int)qemu : scan_reader_run(&reader, err);
		close(pair[0]);
	}
	if (qemu > 0)
		child_end(qemu, 1);
	command_free(&command);
	return r;
}

static void remove_folder(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
	rmdir(folder);
}

static bool images_there(const char *folder)
{
	CLEANUP_FREE char *kernel = io_printf("%s/vmlinuz", folder);
	CLEANUP_FREE char *initrd = io_printf("%s/initrd", folder);

	return kernel && initrd && access(kernel, R_OK) == 0 && access(initrd, R_OK) == 0;
}

bool scan_vm_there(const struct scan *scan, const struct scan_volume *volume)
{
	CLEANUP_FREE char *images = io_printf("%s/../scan-vm", scan->order->libexec);

	return volume->nbd_socket && images && images_there(images) &&
	       access(qemu_program, X_OK) == 0 && access(qemu_img_program, X_OK) == 0;
}

int scan_vm_run(const struct scan_vm *order, struct err *err)
{
	CLEANUP_FREE char *images = io_printf("%s/../scan-vm", order->scan->order->libexec);
	struct run run = { .order = order, .images = images };
	int r;

	if (!images)
		return err_set(err, ENOMEM, "start the virtual machine");
	if (!images_there(images)) {
		scan_incomplete(
			order->scan,
			"no reader: %s %s: %s needs the virtual machine (run: make scan-vm)",
			order->volume->name, order->partition, order->disks[0].type);
		return 0;
	}
	if (!order->volume->nbd_socket) {
		scan_incomplete(order->scan,
				"no reader: %s %s: %s cannot be read from this kind of volume",
				order->volume->name, order->partition, order->disks[0].type);
		return 0;
	}
	r = order->volume->nbd_socket(order->volume->input.ctx, &run.nbd, err);
	if (r < 0)
		return r;
	snprintf(run.folder, sizeof(run.folder), "/tmp/godwit-scan.XXXXXX");
	if (!mkdtemp(run.folder))
		return err_set(err, errno, "make a temp folder");
	r = run_vm(&run, err);
	remove_folder(run.folder);
	return r;
}
