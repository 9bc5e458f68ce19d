/* init.c - the only program of the micro-VM: mounts what the disks hold with the kernel's own drivers and streams every
 * regular file out through a virtio-serial port (vm_wire.h). Then the power goes off.
 *
 * Kernel command line: godwit.types=xfs,btrfs,… names the content of /dev/vda, /dev/vdb …; LVM2_member means that the
 * disk is part of a volume group. The disks are throw-away overlays, so journals may be replayed.
 * It is PID 1 and alone: a failure is reported in the stream, and the next thing is tried.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mgmt-server/scan/vm/vm_walk.h"

enum { TYPES_MAX = 26, PORT_WAIT_MS = 180000, END_WAIT_S = 15 * 60 };

static void load_modules(void)
{
	FILE *list = fopen("/modules/list", "re");
	char name[128], path[160];

	while (list && fscanf(list, "%127s", name) == 1) {
		int fd;

		snprintf(path, sizeof(path), "/modules/%s", name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0) {
			syscall(SYS_finit_module, fd, "", 0);
			close(fd);
		}
	}
	if (list)
		fclose(list);
}

static int open_port(void)
{
	for (int waited = 0; waited < PORT_WAIT_MS; waited += 10) {
		int fd = open("/dev/vport0p1", O_WRONLY | O_CLOEXEC);

		if (fd >= 0)
			return fd;
		usleep(10000);
	}
	return -1;
}

static int run(const char *const *argv)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		execv(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* What a device holds, tried in this order: the most particular signatures first. */
static const char *const any_type[] = { "xfs",      "btrfs",    "ext4",  "f2fs",    "jfs",
					"reiserfs", "squashfs", "erofs", "iso9660", "udf",
					"exfat",    "vfat",     "ntfs3", "hfsplus", "hfs" };

/* ext4 replays no fast commit that touches a folder while it is mounted read-only: __ext4_link() and __ext4_unlink() end in
 * ext4_journal_check_start(). So it is mounted for writing first, and for reading then. */
static const struct {
	const char *type, *options;
	int write_first;
} options[] = {
	{ "xfs", "nouuid", 0 },
	{ "btrfs", "subvolid=5", 0 },
	{ "vfat", "iocharset=utf8,utf8", 0 }, /* utf8: letters beyond 16 bits, too */
	{ "ntfs3", "nls=utf8", 0 },
	{ "ext4", "noinit_itable", 1 },
};

static int try_mount(const char *device, const char *type)
{
	const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	const char *with = NULL;
	int write_first = 0;

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		if (strcmp(options[i].type, type))
			continue;
		with = options[i].options;
		write_first = options[i].write_first;
	}
	if (write_first && mount(device, "/mnt", type, flags, with) == 0) {
		mount(NULL, "/mnt", NULL, flags | MS_RDONLY | MS_REMOUNT, NULL);
		return 0;
	}
	return mount(device, "/mnt", type, flags | MS_RDONLY, with);
}

static int mount_any(const char *device)
{
	for (size_t i = 0; i < sizeof(any_type) / sizeof(any_type[0]); i++) {
		if (try_mount(device, any_type[i]) == 0)
			return 0;
	}
	return -1;
}

static int is_swap(const char *device)
{
	char magic[10];
	int fd = open(device, O_RDONLY | O_CLOEXEC);
	int yes = fd >= 0 && pread(fd, magic, sizeof(magic), 4086) == sizeof(magic) &&
		  (!memcmp(magic, "SWAPSPACE2", 10) || !memcmp(magic, "SWAP-SPACE", 10));

	if (fd >= 0)
		close(fd);
	return yes;
}

/* prefix: in front of each path, "" or "VOLUME/". type NULL: find out. */
static void scan_device(struct vm_walk *w, const char *device, const char *type, const char *prefix)
{
	char why[256];

	if (type ? try_mount(device, type) : mount_any(device)) {
		if (is_swap(device)) {
			vm_walk_device(w, device, prefix);
			return;
		}
		snprintf(why, sizeof(why), "%s%s does not mount: %s", prefix,
			 type ? type : "an unknown file system", strerror(errno));
		vm_walk_lost(w, why);
		return;
	}
	vm_walk_tree(w, "/mnt", prefix);
	umount2("/mnt", MNT_DETACH);
}

static void activate_volume_groups(struct vm_walk *w)
{
	static const char config[] =
		"activation{udev_sync=0 udev_rules=0 monitoring=0} backup{backup=0 archive=0} "
		"global{locking_type=1 use_lvmpolld=0} devices{use_devicesfile=0}";
	const char *const activate[] = { "/sbin/lvm", "vgchange", "-ay", "--sysinit",
					 "--config",  config,     NULL };
	const char *const nodes[] = { "/sbin/lvm", "vgmknodes", "--config", config, NULL };

	if (run(activate))
		vm_walk_lost(w, "LVM: not every logical volume could be activated");
	run(nodes);
}

/* Inner volumes (of a mirror, a pool) are seen through the outer ones. */
static int is_inner(const char *name)
{
	static const char *const ends[] = { "_tdata",   "_tmeta", "_tpool", "-tpool",
					    "_pmspare", "_cdata", "_cmeta", "-real",
					    "-cow",     "_corig", "_vdata" };

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		size_t n = strlen(name), k = strlen(ends[i]);

		if (n > k && !strcmp(name + n - k, ends[i]))
			return 1;
	}
	return strstr(name, "_rimage_") || strstr(name, "_rmeta_") || strstr(name, "_mimage_") ||
	       strstr(name, "_mlog");
}

static void scan_volume_groups(struct vm_walk *w)
{
	char names[64][160], device[200], prefix[200];
	int count;

	activate_volume_groups(w);
	count = vm_walk_names("/dev/mapper", names, 64);
	if (count <= 1)
		vm_walk_lost(w, "LVM: no logical volume could be activated");
	for (int i = 0; i < count; i++) {
		if (!strcmp(names[i], "control") || is_inner(names[i]))
			continue;
		snprintf(device, sizeof(device), "/dev/mapper/%s", names[i]);
		snprintf(prefix, sizeof(prefix), "%s/", names[i]);
		scan_device(w, device, NULL, prefix);
	}
}

static void scan_disks(struct vm_walk *w)
{
	char line[2048] = "", device[] = "/dev/vda", *types, *type, *rest;
	int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC), groups = 0;

	if (fd < 0 || read(fd, line, sizeof(line) - 1) < 0 ||
	    !(types = strstr(line, "godwit.types="))) {
		vm_walk_lost(w, "the virtual machine was not told what to read");
		return;
	}
	types += strlen("godwit.types=");
	types[strcspn(types, " \n")] = 0;
	for (type = strtok_r(types, ",", &rest); type && device[7] <= 'z';
	     type = strtok_r(NULL, ",", &rest)) {
		if (!strcmp(type, "LVM2_member"))
			groups = 1;
		else
			scan_device(w, device, type, "");
		device[7]++;
	}
	if (groups)
		scan_volume_groups(w);
}

int main(void)
{
	struct vm_walk *w;
	int port;

	mkdir("/proc", 0755), mkdir("/sys", 0755), mkdir("/dev", 0755), mkdir("/mnt", 0755),
		mkdir("/run", 0755);
	mkdir("/etc", 0755), mkdir("/tmp", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	load_modules();
	port = open_port();
	w = port < 0 ? NULL : vm_walk_new(port);
	if (w) {
		scan_disks(w);
		vm_walk_done(w);
		/* The host ends this machine when it has read that. What it has not read yet would be lost with the power. */
		sleep(END_WAIT_S);
	}
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}
