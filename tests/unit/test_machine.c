/* Machine objects, and the command line they become. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "common/io.h"
#include "hypervisor/machine.h"

static const struct {
	const char *name, *text;
	int want;
	const char *complaint;
} objects[] = {
	{ "new", "{\"vcpus\":2,\"memory_mib\":512,\"network\":\"user\"}", 0, NULL },
	{ "complete",
	  "{\"vcpus\":2,\"memory_mib\":512,\"network\":\"none\",\"type\":\"pc-q35-10.0\",\"cpu\":"
	  "\"qemu64\"}",
	  0, NULL },
	{ "no memory", "{\"vcpus\":2,\"network\":\"user\"}", -EINVAL, "memory_mib" },
	{ "no processor", "{\"vcpus\":0,\"memory_mib\":512,\"network\":\"user\"}", -EINVAL,
	  "vcpus" },
	{ "too many processors", "{\"vcpus\":65,\"memory_mib\":512,\"network\":\"user\"}", -EINVAL,
	  "vcpus" },
	{ "too much memory", "{\"vcpus\":2,\"memory_mib\":99999999999,\"network\":\"user\"}",
	  -EINVAL, "memory_mib" },
	{ "unknown network", "{\"vcpus\":2,\"memory_mib\":512,\"network\":\"bridge\"}", -EINVAL,
	  "network" },
	{ "unknown key", "{\"vcpus\":2,\"memory_mib\":512,\"network\":\"user\",\"gpu\":1}", -EINVAL,
	  "gpu" },
	{ "options in the CPU",
	  "{\"vcpus\":2,\"memory_mib\":512,\"network\":\"user\",\"cpu\":\"max,x=y\"}", -EINVAL,
	  "cpu" },
	{ "an empty type", "{\"vcpus\":2,\"memory_mib\":512,\"network\":\"user\",\"type\":\"\"}",
	  -EINVAL, "type" },
};

static void test_machine_parse(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < ARRAY_LEN(objects); i++) {
		CLEANUP(json_decref) json_t *in = json_loads(objects[i].text, 0, NULL);
		struct machine m;
		struct err err = { .code = 0 };
		int r = machine_parse(&m, in, &err);

		if (r != objects[i].want ||
		    (r < 0 && !strstr(err_text(&err), objects[i].complaint)))
			fail_msg("%s: got %d (%s)", objects[i].name, r, err_text(&err));
		if (r == 0) {
			CLEANUP(json_decref) json_t *out = machine_json(&m);

			assert_true(json_equal(in, out));
		}
	}
}

static const struct machine machine = {
	.vcpus = 2, .memory_mib = 512, .type = "pc-q35-10.0", .cpu = "qemu64", .network = true
};
static const struct machine_disk disks[] = {
	{ .name = "disk0", .size = 1 << 20, .export = "a \"b\", c" },
	{ .name = "disk1", .size = 1 << 20, .export = "x", .complete = true },
};

static char *command_text(const struct machine_order *order)
{
	CLEANUP(machine_command_free) char **argv = NULL;
	char *text = io_printf("%s", "");

	assert_int_equal(machine_command(order, &argv, NULL), 0);
	for (size_t i = 0; argv[i]; i++) {
		char *longer = io_printf("%s%s\n", text, argv[i]);

		base_free(text);
		text = longer;
	}
	return text;
}

static struct machine_order order_of(const char *desktop, bool incoming)
{
	return (struct machine_order){ .desktop = desktop,
				       .machine = &machine,
				       .disks = disks,
				       .disk_count = ARRAY_LEN(disks),
				       .qemu = "qemu-system-x86_64",
				       .accelerator = "tcg",
				       .incoming = incoming,
				       .reconnect_s = 600 };
}

/* Lines that must, or must not, be there. */
static const struct {
	bool incoming, there;
	const char *line;
} lines[] = {
	{ false, true, "\n-machine\ntype=pc-q35-10.0\n" },
	{ false, true, "\n-accel\ntcg,thread=multi\n" },
	{ false, true, "\n-cpu\nqemu64,enforce\n" },
	{ false, true, "\n-m\n512M\n" },
	{ false, true, "\n-nodefaults\n" },
	{ false, true, "\n-action\nshutdown=pause\n" },
	{ false, true, "\n-sandbox\non," },
	{ false, true, "\n-S\n" },
	{ false, false, "\n-incoming\n" },
	{ true, true, "\n-incoming\ndefer\n" },
	{ true, false, "\n-S\n" },
	{ false, true, "\n-vnc\nunix:vnc.sock\n" },
	{ false, true, "logfile=serial.log,logappend=on\n" },
	{ false, true, "\"path\":\"disk0.nbd\"" },
	{ false, true, "\"export\":\"a \\\"b\\\", c\"" },
	{ false, true, "\"reconnect-delay\":600" },
	{ false, true, "\"backing\":\"disk0-backing\"" },
	{ false, false, "disk1.nbd" },
	{ false, true, "\"backing\":null" },
	{ false, true,
	  "virtio-blk-pci,id=disk0-device,drive=disk0,bus=pcie.0,addr=0x10,serial=disk0,rerror="
	  "stop,werror=stop,bootindex=1\n" },
	{ false, true,
	  "virtio-blk-pci,id=disk1-device,drive=disk1,bus=pcie.0,addr=0x11,serial=disk1,rerror="
	  "stop,werror=stop\n" },
	{ false, true, "\n-netdev\nuser,id=net0\n" },
};

static void test_machine_command_lines(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		struct machine_order order = order_of("anna", lines[i].incoming);
		CLEANUP_FREE char *text = command_text(&order);

		if ((strstr(text, lines[i].line) != NULL) != lines[i].there)
			fail_msg("'%s' in:\n%s", lines[i].line, text);
	}
}

/* A stream of one endpoint must load on another, so all but -S, -incoming and -accel is the same. */
static void test_machine_command_is_stable(void **unused)
{
	struct machine_order anna = order_of("anna", false), bella = order_of("bella", false);
	struct machine_order kvm = anna;
	CLEANUP_FREE char *first = command_text(&anna), *again = command_text(&anna),
			  *other = command_text(&bella);
	CLEANUP_FREE char *fast = NULL;
	char *accel;

	(void)unused;
	assert_string_equal(first, again);
	assert_string_not_equal(strstr(first, "-uuid"), strstr(other, "-uuid"));
	kvm.accelerator = "kvm";
	fast = command_text(&kvm);
	accel = strstr(first, "tcg,thread=multi");
	assert_int_equal(strncmp(first, fast, (size_t)(accel - first)), 0);
	assert_string_equal(strchr(accel, '\n'), strchr(fast + (accel - first), '\n'));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_machine_parse),
		cmocka_unit_test(test_machine_command_lines),
		cmocka_unit_test(test_machine_command_is_stable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
