#include "hypervisor/machine.h"

#include <errno.h>
#include <openssl/sha.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"

enum {
	VCPUS_MAX = 64,
	MEMORY_MIB_MIN = 16,
	MEMORY_MIB_MAX = 4 << 20,
	ARGS_MAX = 128,
	FIRST_DISK_SLOT = 0x10, /* PCI slots below are the fixed devices' */
};

/* ---- the Machine object ------------------------------------------------------------------------------------- */

/* Type and CPU go into QEMU option strings: no commas, no surprises. */
static int take_word(char *out, const char *text, const char *key, struct err *err)
{
	size_t n =
		strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

	if (n == 0 || text[n] || n > MACHINE_TEXT_MAX)
		return err_say(err, EINVAL,
			       "machine: '%s' must be a word of letters, digits, '.', '_' and '-', "
			       "up to %d long",
			       key, MACHINE_TEXT_MAX);
	memcpy(out, text, n + 1);
	return 0;
}

int machine_parse(struct machine *out, const json_t *object, struct err *err)
{
	const char *type = NULL, *cpu = NULL, *network = NULL;
	struct machine m = { .vcpus = 0 };
	const struct json_field fields[] = {
		{ "vcpus", JSON_KIND_UINT, false, &m.vcpus },
		{ "memory_mib", JSON_KIND_UINT, false, &m.memory_mib },
		{ "type", JSON_KIND_STRING, true, &type },
		{ "cpu", JSON_KIND_STRING, true, &cpu },
		{ "network", JSON_KIND_STRING, false, &network },
	};
	int r;

	r = json_fields(object, fields, ARRAY_LEN(fields), "machine", err);
	if (r < 0)
		return r;
	if (m.vcpus < 1 || m.vcpus > VCPUS_MAX)
		return err_say(err, EINVAL, "machine: 'vcpus' must be 1 to %d", VCPUS_MAX);
	if (m.memory_mib < MEMORY_MIB_MIN || m.memory_mib > MEMORY_MIB_MAX)
		return err_say(err, EINVAL, "machine: 'memory_mib' must be %d to %d",
			       MEMORY_MIB_MIN, MEMORY_MIB_MAX);
	if (strcmp(network, "user") != 0 && strcmp(network, "none") != 0)
		return err_say(err, EINVAL, "machine: 'network' must be \"user\" or \"none\"");
	m.network = strcmp(network, "user") == 0;
	if (type && (r = take_word(m.type, type, "type", err)) < 0)
		return r;
	if (cpu && (r = take_word(m.cpu, cpu, "cpu", err)) < 0)
		return r;
	*out = m;
	return 0;
}

json_t *machine_json(const struct machine *m)
{
	json_t *object =
		json_pack("{s:I, s:I, s:s}", "vcpus", (json_int_t)m->vcpus, "memory_mib",
			  (json_int_t)m->memory_mib, "network", m->network ? "user" : "none");

	if (object && m->type[0])
		json_object_set_new(object, "type", json_string(m->type));
	if (object && m->cpu[0])
		json_object_set_new(object, "cpu", json_string(m->cpu));
	return object;
}

const char *machine_default_cpu(const char *accelerator)
{
	return strcmp(accelerator, "kvm") == 0 ? "Nehalem" : "qemu64";
}

/* ---- the command line --------------------------------------------------------------------------------------- */

struct args {
	char **argv;
	size_t n;
	bool failed;
};

static void add(struct args *a, char *arg)
{
	if (!arg || a->n == ARGS_MAX) {
		free(arg);
		a->failed = true;
		return;
	}
	a->argv[a->n++] = arg;
	a->argv[a->n] = NULL;
}

/* An option and its value, the latter printed. */
__attribute__((format(printf, 3, 4))) static void option(struct args *a, const char *name,
							 const char *format, ...)
{
	char *value = NULL;
	va_list ap;

	add(a, strdup(name));
	va_start(ap, format);
	if (vasprintf(&value, format, ap) < 0)
		value = NULL;
	va_end(ap);
	add(a, value);
}

static void option_json(struct args *a, const char *name, json_t *value)
{
	add(a, strdup(name));
	add(a, value ? json_text(value) : NULL);
	json_decref(value);
}

/* One desktop, one identity: a guest that comes back elsewhere must not see other hardware. */
static void identity(const char *desktop, uint8_t id[static 16])
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	CLEANUP_FREE char *text = io_printf("godwit desktop %s", desktop);

	memset(id, 0, 16);
	if (!text)
		return;
	SHA256((const uint8_t *)text, strlen(text), digest);
	memcpy(id, digest, 16);
	id[6] = (uint8_t)((id[6] & 0x0f) | 0x80); /* RFC 9562, version 8 */
	id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
}

static void add_identity(struct args *a, const uint8_t *u)
{
	option(a, "-uuid", "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
	       u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12],
	       u[13], u[14], u[15]);
}

/* The overlay, above the snapshot that an NBD server offers as long as not everything is local. */
static void add_disk(struct args *a, const struct machine_order *o, size_t i)
{
	const struct machine_disk *d = &o->disks[i];
	CLEANUP_FREE char *file = io_printf("%s.qcow2", d->name);
	CLEANUP_FREE char *socket = io_printf("%s.nbd", d->name);
	CLEANUP_FREE char *backing = io_printf("%s-backing", d->name);

	if (!file || !socket || !backing) {
		a->failed = true;
		return;
	}
	if (!d->complete)
		option_json(a, "-blockdev",
			    json_pack("{s:s, s:s, s:b, s:{s:s, s:s}, s:s, s:I, s:i}", "driver",
				      "nbd", "node-name", backing, "read-only", 1, "server", "type",
				      "unix", "path", socket, "export", d->export,
				      "reconnect-delay", (json_int_t)o->reconnect_s, "open-timeout",
				      30));
	option_json(a, "-blockdev",
		    json_pack("{s:s, s:s, s:s, s:s, s:{s:s, s:s, s:s}, s:o}", "driver", "qcow2",
			      "node-name", d->name, "discard", "unmap", "detect-zeroes", "unmap",
			      "file", "driver", "file", "filename", file, "discard", "unmap",
			      "backing", d->complete ? json_null() : json_string(backing)));
	option(a, "-device",
	       "virtio-blk-pci,id=%s-device,drive=%s,bus=pcie.0,addr=0x%zx,serial=%s,rerror=stop,"
	       "werror=stop%s",
	       d->name, d->name, FIRST_DISK_SLOT + i, d->name, i == 0 ? ",bootindex=1" : "");
}

static void add_devices(struct args *a, const struct machine_order *o, const uint8_t *id)
{
	option(a, "-device", "VGA,id=video0,bus=pcie.0,addr=0x2");
	if (o->machine->network) {
		option(a, "-netdev", "user,id=%s", MACHINE_NETDEV);
		option(a, "-device",
		       "virtio-net-pci,id=net0-device,netdev=" MACHINE_NETDEV
		       ",bus=pcie.0,addr=0x3,"
		       "romfile=,mac=52:54:00:%02x:%02x:%02x",
		       id[13], id[14], id[15]);
	}
	option(a, "-object", "rng-random,id=rng0,filename=/dev/urandom");
	option(a, "-device", "virtio-rng-pci,id=rng0-device,rng=rng0,bus=pcie.0,addr=0x4");
	option(a, "-device", "qemu-xhci,id=usb0,bus=pcie.0,addr=0x5");
	option(a, "-device", "usb-tablet,id=tablet0,bus=usb0.0");
	option(a, "-device", "virtio-serial-pci,id=ports0,bus=pcie.0,addr=0x6");
	option(a, "-chardev", "socket,id=guest-agent,path=guest-agent.sock,server=on,wait=off");
	option(a, "-device",
	       "virtserialport,id=guest-agent-device,bus=ports0.0,chardev=guest-agent,name=org."
	       "qemu.guest_agent.0");
	option(a, "-chardev",
	       "socket,id=serial0,path=serial.sock,server=on,wait=off,logfile=%s,logappend=on",
	       MACHINE_SERIAL_LOG);
	option(a, "-serial", "chardev:serial0");
	option(a, "-vnc", "unix:vnc.sock");
}

int machine_command(const struct machine_order *o, char ***out, struct err *err)
{
	struct args a = { .argv = calloc(ARGS_MAX + 1, sizeof(char *)), .failed = false };
	uint8_t id[16];

	if (!a.argv)
		return err_set(err, ENOMEM, "build QEMU's command line");
	identity(o->desktop, id);
	add(&a, strdup(o->qemu));
	option(&a, "-name", "%s,debug-threads=on", o->desktop);
	add(&a, strdup("-nodefaults"));
	add(&a, strdup("-no-user-config"));
	option(&a, "-sandbox",
	       "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
	option(&a, "-machine", "type=%s", o->machine->type);
	option(&a, "-accel", "%s",
	       strcmp(o->accelerator, "tcg") == 0 ? "tcg,thread=multi" : o->accelerator);
	option(&a, "-cpu", "%s,enforce", o->machine->cpu);
	option(&a, "-smp", "%u", (unsigned)o->machine->vcpus);
	/* Anonymous memory: memfd, prealloc and thread priorities make a capture's pause longer. */
	option(&a, "-m", "%uM", (unsigned)o->machine->memory_mib);
	option(&a, "-rtc", "base=utc,driftfix=slew");
	/* A guest that powered off keeps its QEMU, so that its disks can still be captured. */
	option(&a, "-action", "shutdown=pause");
	option(&a, "-qmp", "unix:%s,server=on,wait=off", MACHINE_QMP_SOCKET);
	option(&a, "-qmp", "unix:%s,server=on,wait=off", MACHINE_GUARD_SOCKET);
	add_identity(&a, id);
	add_devices(&a, o, id);
	for (size_t i = 0; i < o->disk_count; i++)
		add_disk(&a, o, i);
	if (o->incoming)
		option(&a, "-incoming", "defer");
	else
		add(&a, strdup("-S"));
	if (a.failed) {
		machine_command_free(a.argv);
		return err_set(err, ENOMEM, "build QEMU's command line");
	}
	*out = a.argv;
	return 0;
}

void machine_command_free(char **argv)
{
	for (size_t i = 0; argv && argv[i]; i++)
		free(argv[i]);
	free(argv);
}
