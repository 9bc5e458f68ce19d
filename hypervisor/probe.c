#include "hypervisor/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "common/io.h"
#include "common/json.h"
#include "hypervisor/machine.h"
#include "hypervisor/process.h"

enum {
	ROM_SIZE = 64 * 1024,
	RESET_VECTOR = ROM_SIZE - 16,
	EXIT_VALUE = 0x10, /* isa-debug-exit makes it status 2 * value + 1 */
	PROBE_TIMEOUT_MS = 15000,
	QEMU_MAJOR_MIN = 10,
};

/* ---- does an accelerator execute anything? ------------------------------------------------------------------ */

/* A ROM whose reset vector says: mov al, EXIT_VALUE; out 0xf4, al; hlt. */
static int write_rom(const char *path, struct err *err)
{
	static const uint8_t code[] = { 0xb0, EXIT_VALUE, 0xe6, 0xf4, 0xf4 };
	CLEANUP_FREE uint8_t *rom = calloc(1, ROM_SIZE);

	if (!rom)
		return err_set(err, ENOMEM, "make a ROM");
	memcpy(rom + RESET_VECTOR, code, sizeof(code));
	return io_replace_file(path, rom, ROM_SIZE, 0600, err);
}

static int run_rom(const char *qemu, const char *accelerator, const char *cpu, const char *rom,
		   char *note, struct err *err)
{
	const char *const argv[] = { qemu,
				     "-accel",
				     accelerator,
				     "-cpu",
				     cpu,
				     "-machine",
				     "q35",
				     "-m",
				     "16",
				     "-nodefaults",
				     "-no-user-config",
				     "-display",
				     "none",
				     "-device",
				     "isa-debug-exit,iobase=0xf4,iosize=4",
				     "-bios",
				     rom,
				     NULL };
	CLEANUP_FREE char *output = NULL;
	const char *last_line;
	int status, r;

	r = process_run((char *const *)argv, PROBE_TIMEOUT_MS, &status, &output, err);
	if (r == -ETIMEDOUT) {
		snprintf(note, PROBE_TEXT_MAX + 1,
			 "a test VM under %s did not execute anything in %d s", accelerator,
			 PROBE_TIMEOUT_MS / 1000);
		return PROBE_FAILS;
	}
	if (r < 0)
		return r;
	if (status == 2 * EXIT_VALUE + 1)
		return 0;
	last_line = strrchr(output, '\n');
	snprintf(note, PROBE_TEXT_MAX + 1,
		 "a test VM under %s -cpu %s failed with status %d: %.160s", accelerator, cpu,
		 status, last_line ? last_line + 1 : output);
	return PROBE_FAILS;
}

int probe_accelerator(const char *qemu, const char *accelerator, const char *cpu, char *note,
		      struct err *err)
{
	char folder[] = "/tmp/godwit-probe.XXXXXX";
	CLEANUP_FREE char *rom = NULL;
	int r;

	note[0] = '\0';
	if (!mkdtemp(folder))
		return err_set(err, errno, "make a folder for the test VM");
	rom = io_printf("%s/rom", folder);
	r = rom ? write_rom(rom, err) : err_set(err, ENOMEM, "test %s", accelerator);
	if (r == 0)
		r = run_rom(qemu, accelerator, cpu, rom, note, err);
	if (rom)
		unlink(rom);
	rmdir(folder);
	return r;
}

/* ---- QEMU --------------------------------------------------------------------------------------------------- */

static int ask_qemu(const char *qemu, const char *question, const char *answer, char **out,
		    struct err *err)
{
	char *const argv[] = { (char *)qemu, (char *)question, (char *)answer, NULL };
	int r = process_run(argv, PROBE_TIMEOUT_MS, NULL, out, err);

	return r < 0 ? err_wrap(err, r, "ask QEMU (install qemu-system-x86, or set [qemu] binary)")
		     : 0;
}

static int find_version(struct probe *probe, const char *qemu, struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	const char *at;
	int r;

	r = ask_qemu(qemu, "--version", NULL, &text, err);
	if (r < 0)
		return r;
	at = strstr(text, "version ");
	if (!at || sscanf(at, "version %31[0-9.]", probe->qemu_version) != 1)
		return err_say(err, EOPNOTSUPP, "%s --version says nothing about a version: %.100s",
			       qemu, text);
	if (atoi(probe->qemu_version) < QEMU_MAJOR_MIN)
		return err_say(
			err, EOPNOTSUPP,
			"%s is version %s; %d.0 or newer is needed (bookworm-backports has it)",
			qemu, probe->qemu_version, QEMU_MAJOR_MIN);
	return 0;
}

static int find_machine(struct probe *probe, const char *qemu, struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	const char *at;
	int r;

	r = ask_qemu(qemu, "-machine", "help", &text, err);
	if (r < 0)
		return r;
	at = strstr(text, "alias of pc-q35-");
	if (!at || sscanf(at, "alias of %63[a-z0-9.-]", probe->machine_type) != 1)
		return err_say(err, EOPNOTSUPP, "%s knows no q35 machine", qemu);
	return 0;
}

/* ---- userfaultfd -------------------------------------------------------------------------------------------- */

/* What QEMU does: the device first, the system call (which needs CAP_SYS_PTRACE or a sysctl) otherwise. */
static int open_userfaultfd(void)
{
	CLEANUP_FD int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	int fd = -1;

	if (device >= 0)
		fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	return fd;
}

static void find_live_capture(struct probe *probe)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP };
	CLEANUP_FD int fd = open_userfaultfd();

	probe->live_capture = fd >= 0 && ioctl(fd, UFFDIO_API, &api) == 0;
	if (fd < 0)
		snprintf(probe->live_note, sizeof(probe->live_note),
			 "userfaultfd is not allowed (%s): give this user /dev/userfaultfd or "
			 "CAP_SYS_PTRACE",
			 strerrordesc_np(errno));
	else if (!probe->live_capture)
		snprintf(probe->live_note, sizeof(probe->live_note),
			 "this kernel cannot write-protect memory by userfaultfd");
}

/* ---- the remembered answer ---------------------------------------------------------------------------------- */

static int recall(const char *path, const char *key, bool *works, char *note)
{
	CLEANUP(json_decref) json_t *root = NULL;
	const char *known = NULL, *why = NULL;
	const struct json_field fields[] = {
		{ "host", JSON_KIND_STRING, false, &known },
		{ "kvm", JSON_KIND_BOOL, false, works },
		{ "note", JSON_KIND_STRING, false, &why },
	};
	struct err ignored;

	if (json_parse_file(&root, path, 4096, &ignored) < 0 ||
	    json_fields(root, fields, ARRAY_LEN(fields), path, &ignored) < 0 ||
	    strcmp(known, key) != 0)
		return -ENOENT;
	snprintf(note, PROBE_TEXT_MAX + 1, "%s", why);
	return 0;
}

static int remember(const char *path, const char *key, bool works, const char *note,
		    struct err *err)
{
	CLEANUP(json_decref)
	json_t *root = json_pack("{s:s, s:b, s:s}", "host", key, "kvm", works, "note", note);
	CLEANUP_FREE char *text = root ? json_text(root) : NULL;

	if (!text)
		return err_set(err, ENOMEM, "remember the probe");
	return io_replace_file(path, text, strlen(text), 0600, err);
}

/* The model that desktops get, in full; and all MSRs of the host's own. */
static int test_kvm(const char *qemu, bool *works, char *note, struct err *err)
{
	CLEANUP_FREE char *model = io_printf("%s,enforce", machine_default_cpu("kvm"));
	int r;

	if (!model)
		return err_set(err, ENOMEM, "probe for KVM");
	r = probe_accelerator(qemu, "kvm", model, note, err);
	if (r == 0)
		r = probe_accelerator(qemu, "kvm", "host", note, err);
	*works = r == 0;
	return r < 0 ? r : 0;
}

static int find_kvm(const struct probe *probe, const struct probe_options *options, bool *works,
		    char *note, struct err *err)
{
	CLEANUP_FREE char *path = io_printf("%s/probe.json", options->state);
	CLEANUP_FREE char *key = NULL;
	struct utsname kernel;
	int r;

	if (access("/dev/kvm", R_OK | W_OK) < 0) {
		snprintf(note, PROBE_TEXT_MAX + 1, "/dev/kvm: %s", strerrordesc_np(errno));
		return 0;
	}
	uname(&kernel);
	key = io_printf("qemu %s, kernel %s", probe->qemu_version, kernel.release);
	if (!path || !key)
		return err_set(err, ENOMEM, "probe for KVM");
	if (recall(path, key, works, note) == 0)
		return 0;
	r = test_kvm(options->qemu, works, note, err);
	if (r < 0)
		return r;
	return remember(path, key, *works, note, err);
}

int probe_host(struct probe *out, const struct probe_options *options, struct err *err)
{
	struct probe probe = { .note = "" };
	bool kvm = false;
	int r;

	r = find_version(&probe, options->qemu, err);
	if (r == 0)
		r = find_machine(&probe, options->qemu, err);
	if (r < 0)
		return r;
	if (strcmp(options->accelerator, "tcg") == 0) {
		snprintf(probe.note, sizeof(probe.note), "the configuration says tcg");
	} else {
		r = find_kvm(&probe, options, &kvm, probe.note, err);
		if (r < 0)
			return r;
		if (!kvm && strcmp(options->accelerator, "kvm") == 0)
			return err_say(err, EOPNOTSUPP, "the configuration demands kvm, but %s",
				       probe.note);
	}
	snprintf(probe.accelerator, sizeof(probe.accelerator), "%s", kvm ? "kvm" : "tcg");
	find_live_capture(&probe);
	*out = probe;
	return 0;
}
